package directory

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Failures hears of logins that failed; *limits.Limits.
type Failures interface {
	// LoginFailed tells that a client gave a wrong password for user, or a user who is none. mark is the same for the same
	// user and password, in all processes, and tells nothing of them.
	LoginFailed(client netip.Addr, user string, mark uint32)
}

// Deps of the directory.
type Deps struct {
	Store   account.Store
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
	// Failures keeps out who guesses; nil is nobody.
	Failures Failures
	// Sessions ends what accounts have open; nil does not.
	Sessions Sessions
}

// Sessions tells the fronts to end sessions of accounts. It waits for nobody.
type Sessions interface {
	Removed(accounts ...mailbox.AccountID) error
	PasswordChanged(accounts ...mailbox.AccountID) error
}
