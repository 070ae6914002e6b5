package submission

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/smtpd"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// session is one connection's.
type session struct {
	s    *Service
	conn *smtpd.Conn
	tx   acceptance.Transaction

	// account and address are of who logged in; 0 before.
	account mailbox.AccountID
	address string
	// leave ends the connection's place among those of the account; nil before.
	leave func()
	// owned is the last reverse-path that was found to be the account's.
	owned envelope.ReversePath

	// binding is the connection's channel binding, once it was asked for.
	binding []byte
	bound   bool

	// Reused from one RCPT to the next.
	addresses []envelope.ForwardPath
	kinds     []directoryv1.Kind
}

// NewSession takes everybody: AUTH comes later.
func (s *Service) NewSession(_ context.Context, c *smtpd.Conn) (smtpd.Session, error) {
	return &session{s: s, conn: c}, nil
}

// Data opens the message.
func (s *session) Data(ctx context.Context) (smtpd.Message, error) {
	m, err := s.s.acceptor.Begin(ctx, s.tx.Envelope(), acceptance.Options{Trusted: true, Complete: true})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Reset ends the transaction.
func (s *session) Reset() { s.tx = acceptance.Transaction{} }

// Close gives the account's place back.
func (s *session) Close() {
	if s.leave != nil {
		s.leave()
		s.leave = nil
	}
}
