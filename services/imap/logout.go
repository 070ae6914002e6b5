package imap

import "github.com/mailfarm/mailfarm/services/imap/internal/wire"

// logout ends the dialogue (RFC 9051 §6.1.3).
func (s *session) logout(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	s.bye("logging out")
	return reply{}, nil
}
