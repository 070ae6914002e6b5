package imap

import (
	"strings"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/imapurl"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// catenateMax is of how many parts a message is put together.
const catenateMax = 200

// errCatenateLarge is a message that grew too large as it was put together (RFC 4469 §3).
var errCatenateLarge = no("TOOBIG", "message larger than APPENDLIMIT")

// catenate puts a message together of what the client sends and of what lies in its mailboxes (RFC 4469 §3), from behind the
// opening parenthesis on, and passes it on to the store as it comes. l stands behind the closing one afterwards.
func (a *appender) catenate(l *wire.Lexer, start *storev1.AppendStart) error {
	m := &passing{a: a}
	start.Unsized = true
	m.send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Start{Start: start}})
	for n := 1; ; n++ {
		if n > catenateMax {
			l.Fail("too many parts")
		}
		var err error
		switch string(l.Word()) {
		case "TEXT":
			l.Space()
			err = m.text(l)
		case "URL":
			l.Space()
			err = m.url(l)
		default:
			l.Fail("expected TEXT or URL")
		}
		if err == nil {
			err = l.Err()
		}
		if err != nil || m.failed != nil {
			return m.giveUp(err)
		}
		if l.Accept(')') {
			break
		}
		l.Space()
	}
	if m.size == 0 {
		return m.giveUp(no("", "empty message"))
	}
	a.total += m.size
	m.send(&storev1.AppendRequest{Part: &storev1.AppendRequest_End{End: true}})
	if m.failed != nil {
		return m.giveUp(nil)
	}
	return nil
}

// passing is one message on its way to the store.
type passing struct {
	a *appender
	// size is what was sent.
	size int64
	// failed is of ours: the client's octets are read to the end of their literal all the same.
	failed error
}

// send passes on a part.
func (m *passing) send(req *storev1.AppendRequest) {
	if m.failed == nil {
		m.failed = m.a.stream.Send(req)
	}
}

// data passes octets on.
func (m *passing) data(p []byte) {
	m.size += int64(len(p))
	if m.failed == nil && (m.size > m.a.s.svc.cfg.MaxAppend || m.a.total+m.size > m.a.s.svc.cfg.MaxAppend+dropMax) {
		m.failed = errCatenateLarge
	}
	m.send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Data{Data: p}})
}

// giveUp drops what is left of the command, and tells why: err where it is set, else what failed.
func (m *passing) giveUp(err error) error {
	if m.a.s.readErr != nil {
		return err
	}
	if dropped := m.a.s.in.DropLiteral(m.a.s.in.NonSync()); dropped != nil {
		m.a.s.readErr = dropped
		return dropped
	}
	if err != nil {
		return err
	}
	return m.a.refused(m.failed)
}

// text takes a literal, in UTF8 ( ) where it is in UTF-8 (RFC 6855 §4). What follows it is l's.
func (m *passing) text(l *wire.Lexer) error {
	utf8 := l.AcceptWord("UTF8")
	if utf8 {
		if !m.a.s.utf8OK() {
			l.Fail("unknown CATENATE data")
		}
		l.Space()
		l.Open()
	}
	lit := l.Announced()
	if l.Err() != nil {
		return l.Err()
	}
	if m.size+lit.Size > m.a.s.svc.cfg.MaxAppend {
		return errCatenateLarge
	}
	if !lit.NonSync {
		m.a.s.goAhead()
	}
	if err := m.a.octets(m.data, func(err error) { m.failed = err }); err != nil {
		return err
	}
	if err := m.a.goOn(l); err != nil {
		return err
	}
	if utf8 && l.Err() == nil && !l.Close() {
		l.Fail("expected )")
	}
	return nil
}

// url takes a URL and what it names.
func (m *passing) url(l *wire.Lexer) error {
	text := ""
	if l.Peek() != '{' {
		text = string(l.AString())
	} else {
		lit := l.Announced()
		if l.Err() != nil {
			return l.Err()
		}
		if lit.Size > imapurl.Max {
			return badURL("")
		}
		if !lit.NonSync {
			m.a.s.goAhead()
		}
		var b strings.Builder
		if err := m.a.octets(func(p []byte) { b.Write(p) }, func(err error) { m.failed = err }); err != nil {
			return err
		}
		if err := m.a.goOn(l); err != nil {
			return err
		}
		text = b.String()
	}
	if l.Err() != nil {
		return l.Err()
	}
	u, err := imapurl.Parse(text)
	if err != nil || u.Absolute || u.Auth != nil {
		return badURL(text) // an absolute one may be of another server or session (RFC 4469 §3)
	}
	section, err := m.a.s.openURL(u)
	if err != nil {
		return orBadURL(err, text)
	}
	defer section.close()
	if m.size+section.size() > m.a.s.svc.cfg.MaxAppend {
		return errCatenateLarge
	}
	return section.copy(m.data)
}

// badURL is a URL that names nothing the session may read (RFC 4469 §5); what is no part of a response code is left out.
func badURL(text string) reply {
	if len(text) > 512 || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ']' }) {
		text = "?"
	}
	return no(strings.TrimSuffix("BADURL "+text, " "), "URL names no message here")
}

// orBadURL tells of a URL that names nothing; what is a matter of the moment stays as it is.
func orBadURL(err error, text string) error {
	if r, ok := err.(reply); ok && (r.code == "NONEXISTENT" || r.code == "NOPERM" || r.code == "UNKNOWN-CTE") {
		return badURL(text)
	}
	return err
}
