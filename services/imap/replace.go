package imap

import (
	"bytes"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// replace files a message in the place of one that goes, in one step (RFC 8508 §3).
func (s *session) replace(l *wire.Lexer) (reply, error) { return s.replaceThis(l, false) }

// uidReplace is replace by UID.
func (s *session) uidReplace(l *wire.Lexer) (reply, error) { return s.replaceThis(l, true) }

func (s *session) replaceThis(l *wire.Lexer, uid bool) (reply, error) {
	a := &appender{s: s}
	start, lit, err := a.parseReplace(l, uid)
	return a.run(l, start, lit, err)
}

// parseReplace reads which message goes, and then what APPEND has.
func (a *appender) parseReplace(l *wire.Lexer, uid bool) (*storev1.AppendStart, wire.Literal, error) {
	l.Space()
	set, saved := l.Set()
	start, lit, err := a.parseFirst(l)
	if err != nil {
		return start, lit, err
	}
	if a.s.sel.readOnly {
		return start, lit, errReadOnly
	}
	seqs, err := a.s.seqs(set, saved, uid)
	if err != nil {
		return start, lit, err
	}
	uids := a.s.sel.snap.UIDs(seqs)
	switch {
	case len(uids) == 0:
		return start, lit, no("EXPUNGEISSUED", "no such message")
	case len(uids) > 1 || uids[0].First != uids[0].Last:
		return start, lit, wire.Syntaxf("REPLACE is of one message")
	case uint64(a.to.owner) != a.s.sel.owner():
		return start, lit, no("CANNOT", "a message is not replaced by one in another's mailbox")
	}
	a.replaced = uids[0].First
	start.ReplaceMailbox, start.ReplaceUid = uint64(a.s.sel.snap.ID), a.replaced
	return start, lit, nil
}

// tellReplaced answers: APPENDUID comes untagged, before EXPUNGE (RFC 8508 §4.3), and HIGHESTMODSEQ as behind UID EXPUNGE
// (RFC 8508 §4.5).
func (a *appender) tellReplaced(code string) (reply, error) {
	s := a.s
	s.untagged("OK [" + code + "] replacement is there")
	s.dirty.Store(true)
	if err := s.tell(false); err != nil || !s.enabled.condstore {
		return reply{}, err
	}
	return okCode(highest(s.sel.snap.HighestModSeq), ""), nil
}

// mailboxAt is where in a command that streams the name of a mailbox stands: REPLACE has a message before it.
func mailboxAt(v *boundVerb, command []byte, arguments int) int {
	at := min(arguments+1, len(command))
	if v.name == "REPLACE" || v.name == "UID REPLACE" {
		if i := bytes.IndexByte(command[at:], ' '); i >= 0 {
			return at + i + 1
		}
		return len(command)
	}
	return at
}
