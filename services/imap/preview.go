package imap

import (
	"bytes"

	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// acceptLazy takes "(LAZY)" behind PREVIEW (RFC 8970 §3.1). What there is to be had is stored with the message, so that it
// makes no difference. Other parentheses may be modifiers of FETCH.
func acceptLazy(l *wire.Lexer) {
	const lazy = " (LAZY)"
	if rest := l.Remaining(); len(rest) < len(lazy) || !bytes.EqualFold(rest[:len(lazy)], []byte(lazy)) {
		return
	}
	l.Space()
	l.List(func() { l.Word() })
}

// appendPreview writes the preview that was made when the message arrived. It is never NIL, which would say that it will be
// had by asking again (RFC 8970 §3.2).
func (m *mails) appendPreview(b []byte, mail *mail) ([]byte, error) {
	p := message.PreviewOf(mail.email.GetPartIndex())
	if p == nil {
		ix, err := m.indexOf(mail)
		if err != nil {
			return b, err
		}
		p = ix.Preview()
	}
	return wire.AppendString(b, p, m.s.utf8OK()), nil
}
