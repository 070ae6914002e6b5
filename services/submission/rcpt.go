package submission

import (
	"context"
	"errors"
	"log/slog"

	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/smtpd"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// What is said to recipients.
var (
	errUnknown = reply.Permanent(550, "5.1.1", "no such user here")
	errInvalid = reply.Permanent(553, "5.1.3", "address not understood")
)

// Rcpt takes recipients anywhere; of our own domains only those that exist, so that the user hears of a slip at once.
func (s *session) Rcpt(ctx context.Context, rcpts []smtpd.Rcpt) {
	s.addresses = s.addresses[:0]
	for i := range rcpts {
		s.addresses = append(s.addresses, rcpts[i].To)
	}
	kinds, err := s.s.resolver.Kinds(ctx, s.kinds[:0], s.addresses)
	s.kinds = kinds
	for i := range rcpts {
		r := &rcpts[i]
		if err != nil {
			r.Err = errAway.Because(err)
		} else {
			r.Err = refusal(kinds[i])
		}
		if r.Err != nil {
			s.refused(ctx, r)
			continue
		}
		s.tx.Rcpt(r)
	}
}

// refusal is the reply to a recipient of a kind; nil for one that mail can be sent to.
func refusal(kind directoryv1.Kind) error {
	switch kind {
	case directoryv1.Kind_KIND_ACCOUNT, directoryv1.Kind_KIND_ALIAS, directoryv1.Kind_KIND_REMOTE:
		return nil
	case directoryv1.Kind_KIND_UNKNOWN:
		return errUnknown
	case directoryv1.Kind_KIND_INVALID:
		return errInvalid
	}
	return errAway.Because(errors.New("directory answers " + kind.String()))
}

// refused tells log and trace.
func (s *session) refused(ctx context.Context, r *smtpd.Rcpt) {
	text := reply.Of(r.Err).String()
	s.s.deps.Log.LogAttrs(ctx, slog.LevelInfo, "recipient refused", obs.ConnID(s.conn.ID()),
		obs.Client(s.conn.Client()), obs.User(s.address), obs.ForwardPath(r.To), obs.Reply(text))
	s.s.deps.Trace.Emit(&mailv1.TraceEvent{
		TimeNs: s.s.deps.Now().UnixNano(), Stage: "smtp", Event: "refused", QueueId: s.tx.QueueID(), ConnId: s.conn.ID(),
		ReversePath: s.tx.ReversePath(), ForwardPath: string(r.To), Detail: text,
	})
}
