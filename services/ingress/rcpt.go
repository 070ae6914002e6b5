package ingress

import (
	"context"
	"errors"
	"log/slog"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/smtpd"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// What is said to recipients that are not ours.
var (
	errUnknown = reply.Permanent(550, "5.1.1", "no such user here")
	errRelay   = reply.Permanent(550, "5.7.1", "relaying denied")
	errInvalid = reply.Permanent(553, "5.1.3", "address not understood")
	errAway    = reply.Transient(451, "4.3.0", "cannot look the recipient up now, try again later")
)

// Rcpt takes recipients of our domains (RFC 5321 §3.6.2: no relaying), asking for all of them in one call.
func (s *session) Rcpt(ctx context.Context, rcpts []smtpd.Rcpt) {
	s.addresses = s.addresses[:0]
	for i := range rcpts {
		if !rcpts[i].To.IsLiteral() {
			s.addresses = append(s.addresses, rcpts[i].To)
		}
	}
	kinds, err := s.s.resolver.Kinds(ctx, s.kinds[:0], s.addresses)
	s.kinds = kinds
	next := 0
	for i := range rcpts {
		r := &rcpts[i]
		switch {
		case r.To.IsLiteral():
			r.Err = errRelay // No mailbox here has an address that is a host's.
		case err != nil:
			r.Err = errAway.Because(err)
		default:
			r.Err = refusal(kinds[next])
			next++
		}
		if r.Err != nil {
			s.refused(ctx, r)
			continue
		}
		s.tx.Rcpt(r)
	}
}

// refusal is the reply to a recipient of a kind; nil for one that is ours.
func refusal(kind directoryv1.Kind) error {
	switch kind {
	case directoryv1.Kind_KIND_ACCOUNT, directoryv1.Kind_KIND_ALIAS:
		return nil
	case directoryv1.Kind_KIND_REMOTE:
		return errRelay
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
		obs.Client(s.conn.Client()), obs.ReversePath(envelope.ReversePath(s.tx.ReversePath())),
		obs.ForwardPath(r.To), obs.Reply(text))
	s.s.deps.Trace.Emit(&mailv1.TraceEvent{
		TimeNs: s.s.deps.Now().UnixNano(), Stage: "smtp", Event: "refused", QueueId: s.tx.QueueID(), ConnId: s.conn.ID(),
		ReversePath: s.tx.ReversePath(), ForwardPath: string(r.To), Detail: text,
	})
}
