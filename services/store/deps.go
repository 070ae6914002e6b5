package store

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
)

// Deps is what the role needs.
type Deps struct {
	Mailboxes index.Mailboxes
	Leases    index.Leases
	Blobs     blob.Store
	Notify    Notifier
	Log       *slog.Logger
	// Metrics is where the role's metrics are registered.
	Metrics prometheus.Registerer
	Now     func() time.Time
}

// Notifier publishes hints, which may be lost.
type Notifier interface {
	// Notify publishes payload and does not wait for anybody to take it.
	Notify(subject string, payload []byte) error
}
