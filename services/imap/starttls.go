package imap

import (
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// startTLS changes to TLS (RFC 9051 §6.2.1). What was sent in clear behind the command is dropped, not executed.
func (s *session) startTLS(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if s.secure {
		return bad("TLS is on already"), nil
	}
	if s.svc.deps.TLS == nil {
		return no("UNAVAILABLE", "no TLS here"), nil
	}
	s.answer(reply{text: "begin TLS now"})
	if s.out.Flush() != nil {
		return reply{silent: true}, nil
	}
	if s.in.Reset(&s.conn) {
		s.log.Warn("plaintext behind STARTTLS dropped")
	}
	if err := s.handshake(s.ctx); err != nil {
		s.log.Info("TLS handshake failed", obs.Error(err))
		s.readErr = err
		s.sever()
	}
	return reply{silent: true}, nil
}
