package local

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Bus is what the role needs of the bus.
type Bus interface {
	Consume(ctx context.Context, c bus.Consumer, h bus.Handler) error
}

// Notifier writes DSNs about recipients of a message and returns them as children; nil where nobody wants one. What the
// DSN says follows from the rows' state.
type Notifier interface {
	Bounce(ctx context.Context, parent *mailv1.Accepted, about []*storev1.RecipientRow) (*mailv1.Accepted, error)
}

// Deps of the role.
type Deps struct {
	Bus       Bus
	Mailboxes storev1.MailboxesClient
	Ledger    storev1.LedgerClient
	DSN       Notifier
	Trace     obs.Tracer
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	Now       func() time.Time
}
