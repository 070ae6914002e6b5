package acceptance

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

// ErrAway is said to a recipient of whom the directory tells nothing.
var ErrAway = reply.Transient(451, "4.3.0", "cannot look the recipient up now, try again later")

var (
	errUnknown = reply.Permanent(550, "5.1.1", "no such user here")
	errInvalid = reply.Permanent(553, "5.1.3", "address not understood")
)

// Refusal is the reply to a recipient of a kind; nil for one that has a place here. Whether mail goes elsewhere
// (KIND_REMOTE) is for the role to say, before it asks here.
func Refusal(kind directoryv1.Kind) error {
	switch kind {
	case directoryv1.Kind_KIND_ACCOUNT, directoryv1.Kind_KIND_ALIAS:
		return nil
	case directoryv1.Kind_KIND_UNKNOWN:
		return errUnknown
	case directoryv1.Kind_KIND_INVALID:
		return errInvalid
	}
	return ErrAway.Because(errors.New("directory answers " + kind.String()))
}

// Refused tells log and trace of a recipient whose Err says why it was refused.
func (t *Transaction) Refused(ctx context.Context, a *Acceptor, c *smtpd.Conn, r *smtpd.Rcpt) {
	text := reply.Of(r.Err).String()
	attrs := []slog.Attr{
		obs.ConnID(c.ID()), obs.Client(c.Client()), obs.ReversePath(envelope.ReversePath(t.ReversePath())),
		obs.ForwardPath(r.To), obs.Reply(text),
	}
	if user := t.env.GetClient().GetAccount(); user != "" {
		attrs = append(attrs, obs.User(user))
	}
	a.deps.Log.LogAttrs(ctx, slog.LevelInfo, "recipient refused", attrs...)
	a.deps.Trace.Emit(&mailv1.TraceEvent{
		TimeNs: a.deps.Now().UnixNano(), Stage: "smtp", Event: "refused", QueueId: t.QueueID(), ConnId: c.ID(),
		ReversePath: t.ReversePath(), ForwardPath: string(r.To), Client: t.env.GetClient().GetAddress(), Detail: text,
	})
}
