package submission

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reply"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// directoryTimeout is how long the directory may take to answer a question.
const directoryTimeout = 5 * time.Second

// What is said about senders.
var (
	errNotYours = reply.Permanent(553, "5.7.1", "sender address does not belong to your account")
	errTooMany  = reply.Transient(450, "4.7.1", "your account has sent too many messages, try again later")
	errAway     = reply.Transient(451, "4.3.0", "cannot look the address up now, try again later")
)

// Mail takes senders that belong to the account (RFC 6409 §6.1), and the null reverse-path, which clients use for receipts
// (RFC 8098 §3).
func (s *session) Mail(ctx context.Context, from envelope.ReversePath, opts *smtp.MailOptions) error {
	if !from.IsNull() && from != s.owned {
		if err := s.owns(ctx, from); err != nil {
			return err
		}
		s.owned = from
	}
	if l := s.s.deps.Limits; l != nil && !l.AccountMessage(s.conn.RemoteAddr(), uint64(s.account)) {
		s.refused(ctx, from, errTooMany)
		return errTooMany
	}
	s.tx.Mail(s.s.acceptor, s.conn, s.address, from, opts)
	return nil
}

func (s *session) owns(ctx context.Context, from envelope.ReversePath) error {
	ctx, cancel := context.WithTimeout(ctx, directoryTimeout)
	defer cancel()
	answer, err := s.s.deps.Directory.Owns(ctx, &directoryv1.OwnsRequest{
		Account: uint64(s.account), Addresses: []string{string(from)},
	})
	switch {
	case err != nil:
		return errAway.Because(fmt.Errorf("ask who owns the sender: %w", err))
	case len(answer.GetOwns()) != 1 || !answer.GetOwns()[0]:
		s.refused(ctx, from, errNotYours)
		return errNotYours
	}
	return nil
}

func (s *session) refused(ctx context.Context, from envelope.ReversePath, why *reply.Error) {
	s.s.deps.Log.LogAttrs(ctx, slog.LevelInfo, "sender refused", obs.ConnID(s.conn.ID()),
		obs.Client(s.conn.Client()), obs.User(s.address), obs.ReversePath(from), obs.Reply(why.String()))
}
