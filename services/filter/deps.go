package filter

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/mailauth"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// Bus is what the filter needs of the bus.
type Bus interface {
	Consume(ctx context.Context, c bus.Consumer, h bus.Handler) error
	PublishAll(ctx context.Context, s bus.Subject, keys []uint64, payloads [][]byte) error
}

// BodyReader opens stored messages.
type BodyReader interface {
	Open(ctx context.Context, id blob.ID) (*blob.Frame, error)
}

// Deps of the role.
type Deps struct {
	Bus     Bus
	Bodies  BodyReader
	Resolve mailauth.Resolver
	Trace   obs.Tracer
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
}
