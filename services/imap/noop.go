package imap

import "github.com/mailfarm/mailfarm/services/imap/internal/wire"

// noop asks for changes (RFC 9051 §6.1.2): what was committed before it is told. CHECK (RFC 3501 §6.4.1) is the same.
func (s *session) noop(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if s.sel == nil {
		return reply{}, nil
	}
	s.dirty.Store(true)
	return reply{}, s.tell(false)
}
