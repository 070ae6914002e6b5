package imap

import "github.com/mailfarm/mailfarm/services/imap/internal/wire"

// namespace tells that there are personal mailboxes only, with "/" between levels (RFC 9051 §6.3.10).
func (s *session) namespace(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	s.untagged(`NAMESPACE (("" "/")) NIL NIL`)
	return reply{}, nil
}
