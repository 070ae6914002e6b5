package store

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// Deps is what the role needs.
type Deps struct {
	Mailboxes index.Mailboxes
	// Quotas keeps limits; nil offers no service of them.
	Quotas index.Quotas
	// Domains keeps limits of domains; nil offers none. Without Directory nobody belongs to one.
	Domains index.DomainQuotas
	// Annotations keeps what people note about mailboxes; nil offers no service of them.
	Annotations index.Annotations
	// Imports files what comes from elsewhere; nil offers no service of it.
	Imports index.Importer
	Leases  index.Leases
	// Sharing and Directory are both nil where nothing is shared: nobody but owners gets at mailboxes then.
	Sharing   index.Sharing
	Directory Directory
	Blobs     blob.Store
	Notify    Notifier
	// Trace is told of what was filed; nil: nobody is. People hear of it from delivery.
	Trace obs.Tracer
	Log   *slog.Logger
	// Locate tells others where frames were moved to; nil where none ever is.
	Locate blob.Locator
	// Metrics is where the role's metrics are registered.
	Metrics prometheus.Registerer
	Now     func() time.Time
}

// Directory is the part of directoryv1.IdentitiesClient that the store calls: who others than the owner are.
type Directory interface {
	Identify(ctx context.Context, in *directoryv1.IdentifyRequest, opts ...grpc.CallOption) (*directoryv1.IdentifyResponse, error)
}

// Notifier publishes hints, which may be lost.
type Notifier interface {
	// Notify publishes payload and does not wait for anybody to take it.
	Notify(subject string, payload []byte) error
}
