package ingress

import (
	"context"
	"log/slog"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/smtpd"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// session is one connection's.
type session struct {
	s    *Service
	conn *smtpd.Conn
	tx   acceptance.Transaction

	// Reused from one RCPT to the next.
	addresses []envelope.ForwardPath
	kinds     []directoryv1.Kind
}

// NewSession takes everybody: who may not send is found out later.
func (s *Service) NewSession(_ context.Context, c *smtpd.Conn) (smtpd.Session, error) {
	return &session{s: s, conn: c}, nil
}

// AuthMechanisms: nobody logs in here.
func (*session) AuthMechanisms() []string { return nil }

// Auth is never reached.
func (*session) Auth(context.Context, string) (smtpd.Mechanism, error) {
	return nil, reply.Permanent(502, "5.5.1", "authentication is not offered here")
}

// errTooMany is said to a client that has sent too much lately.
var errTooMany = reply.Transient(450, "4.7.1", "too many messages from your address, try again later")

// Mail takes every sender, the null reverse-path too (RFC 5321 §4.5.5).
func (s *session) Mail(ctx context.Context, from envelope.ReversePath, opts *smtp.MailOptions) error {
	if l := s.s.deps.Limits; l != nil && !s.conn.LMTP() && !l.Message(s.conn.RemoteAddr()) {
		s.s.deps.Log.LogAttrs(ctx, slog.LevelInfo, "sender refused", obs.ConnID(s.conn.ID()), obs.Client(s.conn.Client()),
			obs.ReversePath(from), obs.Reply(errTooMany.String()))
		return errTooMany
	}
	s.tx.Mail(s.s.acceptor, s.conn, "", from, opts)
	return nil
}

// Data opens the message.
func (s *session) Data(ctx context.Context) (smtpd.Message, error) {
	m, err := s.s.acceptor.Begin(ctx, s.tx.Envelope(), acceptance.Options{})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Reset ends the transaction.
func (s *session) Reset() { s.tx = acceptance.Transaction{} }

// Close has nothing to give back.
func (*session) Close() {}
