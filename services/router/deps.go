package router

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Bus is what the router needs of the bus.
type Bus interface {
	Consume(ctx context.Context, c bus.Consumer, h bus.Handler) error
	PublishAll(ctx context.Context, s bus.Subject, keys []uint64, payloads [][]byte) error
}

// Frames reads what was too large for the bus.
type Frames interface {
	Open(ctx context.Context, id blob.ID) (*blob.Frame, error)
}

// Bouncer writes the frame of a DSN about recipients of a message and returns it as a child; nil where nobody wants it.
type Bouncer interface {
	Bounce(ctx context.Context, parent *mailv1.Accepted, about []*storev1.RecipientRow) (*mailv1.Accepted, error)
}

// Loops tells the addresses of a message's Delivered-To fields, from its part index.
type Loops func(partIndex []byte) []string

// Deps of the router.
type Deps struct {
	Bus       Bus
	Frames    Frames
	Directory directoryv1.DirectoryClient
	Ledger    storev1.LedgerClient
	Bounces   Bouncer
	Delivered Loops
	Trace     obs.Tracer
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	Now       func() time.Time
}
