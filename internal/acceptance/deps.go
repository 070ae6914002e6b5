package acceptance

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/obs"
	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
)

// Drafts begins frames; blob.Store does.
type Drafts interface {
	Create(body blob.ID) (blob.Draft, error)
}

// Filter judges messages; filterv1.FilterClient does.
type Filter interface {
	Check(ctx context.Context, opts ...grpc.CallOption) (grpc.ClientStreamingClient[filterv1.CheckRequest, filterv1.CheckResponse], error)
}

// Publisher takes work for the bus; bus.Conn does.
type Publisher interface {
	// PublishAll returns once the stream has all; keys choose partitions and pair up with payloads. After an error any
	// part of them may be there.
	PublishAll(ctx context.Context, s bus.Subject, keys []uint64, payloads [][]byte) error
}

// Deps of acceptance. Filter, Trace, Log, Metrics and Now may be left out.
type Deps struct {
	Blobs Drafts
	// Filter is asked in the dialogue; without one everything goes to it by the bus.
	Filter  Filter
	Bus     Publisher
	Trace   obs.Tracer
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
}

// Defaults fills in what was left out but for Filter.
func (d *Deps) Defaults() {
	if d.Trace == nil {
		d.Trace = obs.NoTrace{}
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Metrics == nil {
		d.Metrics = prometheus.NewRegistry()
	}
	if d.Now == nil {
		d.Now = time.Now
	}
}
