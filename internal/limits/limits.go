package limits

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
)

// LimitBanned is why a banned client is refused; front.LimitAddress is that of one with too many connections in the farm.
const LimitBanned front.Limit = "banned"

// Limits are the shared limits as one process sees them. A nil *Limits has none.
type Limits struct {
	cfg     Config
	bus     Bus
	bucket  Bucket
	log     *slog.Logger
	now     func() time.Time
	start   time.Time
	self    uint64 // this process among others
	trusted front.Networks
	senders front.Networks // whose accounts are not limited
	limits  [kinds]limit
	table   *table
	bans    *bans
	metrics *metrics
	loaded  atomic.Bool   // what the bucket holds is known
	write   chan struct{} // holds one when there may be bans to write
}

// New checks cfg. It starts nothing and does no I/O.
func New(cfg Config, deps Deps) (*Limits, error) {
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	if deps.Bus == nil || deps.Bans == nil || deps.Log == nil {
		return nil, errors.New("limits: deps lack a bus, a bucket or a log")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	l := &Limits{
		cfg: cfg, bus: deps.Bus, bucket: deps.Bans, log: deps.Log, now: deps.Now, start: deps.Now(),
		limits: limitsOf(&cfg), bans: newBans(), write: make(chan struct{}, 1),
	}
	var id [8]byte
	rand.Read(id[:])
	l.self = binary.BigEndian.Uint64(id[:])
	l.trusted, _ = cfg.trusted() // Validate looked already
	l.senders, _ = cfg.exempt()
	l.table = newTable(l.limits, &cfg)
	l.metrics = newMetrics(deps.Metrics, l)
	return l, nil
}

// Run speaks with the other processes until ctx ends. Without it, and without a bus, the limits hold for this process alone.
func (l *Limits) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { l.gossip(ctx) })
	parts.Go(func() { l.watch(ctx) })
	parts.Go(func() { l.keep(ctx) })
	parts.Wait()
	return nil
}

// since is the time as counts use it.
func (l *Limits) since() time.Duration { return l.now().Sub(l.start) }

// exempt tells whether a client is not limited: it is trusted, or it has no address.
func (l *Limits) exempt(client netip.Addr) bool {
	return !client.IsValid() || l.trusted.Contain(client)
}

// Enter lets a connection in, or tells why not: front.Gate. leave is called once, at the connection's end, also where it was
// refused.
func (l *Limits) Enter(service string, client netip.Addr) (limit front.Limit, leave func()) {
	if l == nil || l.exempt(client) {
		return "", nothing
	}
	now := l.now()
	if l.bans.holds(client, now) {
		l.metrics.refusedBan.Inc()
		return LimitBanned, nothing
	}
	k, ok := connectionsOf(service)
	if !ok || l.limits[k].max < 1 {
		return "", nothing
	}
	leave, ok = l.table.enter(clientKey(k, client), now.Sub(l.start))
	if !ok {
		l.metrics.refusedConnection.Inc()
		return front.LimitAddress, leave
	}
	return "", leave
}

// Message counts a message that a client begins, and tells whether it may.
func (l *Limits) Message(client netip.Addr) bool {
	if l == nil || l.exempt(client) {
		return true
	}
	if l.table.take(clientKey(clientMinute, client), clientKey(clientHour, client), 1, true, l.since()) == 0 {
		l.metrics.refusedMessage.Inc()
		return false
	}
	return true
}

// EnterAccount counts a connection that logs in to an account, and tells whether it may. leave is called once, at the
// connection's end, also where it may not.
func (l *Limits) EnterAccount(client netip.Addr, id uint64) (leave func(), ok bool) {
	if l == nil || l.senders.Contain(client) || l.limits[account].max < 1 {
		return nothing, true
	}
	leave, ok = l.table.enter(accountKey(account, id), l.since())
	if !ok {
		l.metrics.refusedAccount.Inc()
	}
	return leave, ok
}

// AccountMessage counts a message that an account begins at a client, and tells whether it may.
func (l *Limits) AccountMessage(client netip.Addr, id uint64) bool {
	if l == nil || l.senders.Contain(client) {
		return true
	}
	if l.table.take(accountKey(messagesHour, id), accountKey(messagesDay, id), 1, true, l.since()) == 0 {
		l.metrics.refusedAccountMessage.Inc()
		return false
	}
	return true
}

// AccountRecipients counts n recipients that an account names at a client, or as many as it still may, and returns how many.
func (l *Limits) AccountRecipients(client netip.Addr, id uint64, n int) int {
	if l == nil || l.senders.Contain(client) || n == 0 {
		return n
	}
	may := l.table.take(accountKey(recipientsHour, id), accountKey(recipientsDay, id), n, false, l.since())
	l.metrics.refusedRecipient.Add(float64(n - may))
	return may
}
