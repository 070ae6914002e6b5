package limits

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/bus"
)

// Bus is what limits need of the bus.
type Bus interface {
	Notify(subject string, payload []byte) error
	Listen(subject string, f func(subject string, payload []byte)) (stop func(), err error)
}

// Bucket is where bans are kept; *bus.Bucket.
type Bucket interface {
	Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Get(ctx context.Context, key string) (bus.BucketEntry, error)
	Forget(ctx context.Context, key string, revision uint64) error
	Watch(ctx context.Context, changed func(bus.BucketEntry), loaded func()) error
}

// Deps of Limits.
type Deps struct {
	Bus     Bus
	Bans    Bucket
	Log     *slog.Logger
	Metrics prometheus.Registerer // may be nil
	Now     func() time.Time      // nil is time.Now
}
