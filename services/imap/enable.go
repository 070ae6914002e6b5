package imap

import "github.com/mailfarm/mailfarm/services/imap/internal/wire"

// enable turns extensions on that change what the server says unasked (RFC 9051 §6.3.1). Unknown ones are passed over.
func (s *session) enable(l *wire.Lexer) (reply, error) {
	on := s.enabled
	text := "ENABLED"
	for first := true; first || !l.AtEnd(); first = false {
		l.Space()
		switch name := string(l.Word()); name {
		case "CONDSTORE":
			on.condstore = true
			text += " " + name
		case "QRESYNC":
			// RFC 7162 §3.2.3
			on.condstore, on.qresync = true, true
			text += " " + name
		case "UIDONLY":
			on.uidonly = true
			text += " " + name
		case "UTF8=ACCEPT":
			on.utf8 = true
			text += " " + name
		case "IMAP4REV2":
			on.rev2 = true
			text += " IMAP4rev2"
		}
		if l.Err() != nil {
			return reply{}, l.Err()
		}
	}
	began := on.condstore && !s.enabled.condstore
	on.condstore = s.enabled.condstore
	s.enabled = on
	s.untagged(text)
	if s.sel != nil {
		s.sel.lastText = s.sel.lastText[:0]
	}
	if began {
		s.enableCondstore()
	}
	return reply{}, nil
}

// enableCondstore is what every command does that shows that the client knows of MODSEQ; the first one is told where the
// selected mailbox stands (RFC 7162 §3.1).
func (s *session) enableCondstore() {
	if s.enabled.condstore {
		return
	}
	s.enabled.condstore = true
	if s.sel != nil {
		s.untagged("OK [" + highest(s.sel.snap.HighestModSeq) + "] highest")
	}
}
