package remote

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/resolve"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Bus is what the role needs of the bus.
type Bus interface {
	Consume(ctx context.Context, c bus.Consumer, h bus.Handler) error
}

// Frames opens stored messages.
type Frames interface {
	Open(ctx context.Context, id blob.ID) (*blob.Frame, error)
}

// Notifier writes DSNs about recipients of a message and returns them as children; nil where nobody wants one. What the
// DSN says follows from the rows' state: bounced, relayed, or queued for a delay.
type Notifier interface {
	Bounce(ctx context.Context, parent *mailv1.Accepted, about []*storev1.RecipientRow) (*mailv1.Accepted, error)
}

// Resolver finds the hosts of a domain.
type Resolver interface {
	MXHosts(ctx context.Context, domain string) ([]resolve.Host, error)
	LookupAddr(ctx context.Context, host string) (resolve.Answer[netip.Addr], error)
}

// Dialer opens connections; net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Deps of the role.
type Deps struct {
	Bus     Bus
	Ledger  storev1.LedgerClient
	Frames  Frames
	DSN     Notifier
	Resolve Resolver
	Dial    Dialer
	Trace   obs.Tracer
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
	// Owner names this process in claims.
	Owner string
}
