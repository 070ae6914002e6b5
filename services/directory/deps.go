package directory

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/account"
)

// Deps of the directory.
type Deps struct {
	Store   account.Store
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
}
