package acceptance

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/reply"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// What may be said to a recipient whose mailbox is full.
const (
	OverQuotaDefer  = "defer"
	OverQuotaReject = "reject"
)

const (
	// roomTTL is how long an answer about an account holds. Deliver decides, so that it may be a little wrong.
	roomTTL = 10 * time.Second
	// roomTimeout is how long the store may take; then the recipient is taken.
	roomTimeout = 250 * time.Millisecond
	// roomPause is for how long the store is not asked again after it did not answer.
	roomPause = 5 * time.Second
	// maxRooms bounds what is remembered.
	maxRooms = 16384
)

var (
	errFull     = reply.Transient(452, "4.2.2", "mailbox full")
	errFullHere = reply.Permanent(552, "5.2.2", "mailbox full")
)

// Quotas tells which accounts are full; storev1.QuotasClient does.
type Quotas interface {
	Full(ctx context.Context, in *storev1.FullRequest, opts ...grpc.CallOption) (*storev1.FullResponse, error)
}

// Rooms tells at RCPT whether a mailbox is full (RFC 5321 §4.2.3, RFC 3463 §3.3). It never keeps mail away by itself: what it
// is not told of has room.
type Rooms struct {
	quotas Quotas
	full   error
	now    func() time.Time

	mu     sync.Mutex
	known  map[uint64]room // guarded by mu, as is paused
	paused time.Time
}

type room struct {
	full  bool
	until time.Time
}

// NewRooms makes Rooms; without quotas every mailbox has room.
func NewRooms(q Quotas, cfg Config, now func() time.Time) *Rooms {
	r := &Rooms{quotas: q, full: errFull, now: now, known: map[uint64]room{}}
	if cfg.OverQuota == OverQuotaReject {
		r.full = errFullHere
	}
	return r
}

// Refusals tells, in order, what is to be said to recipients that the resolver has found: nil to those whose mailbox has room,
// and to those without one here.
func (r *Rooms) Refusals(ctx context.Context, resolver *Resolver, addresses []envelope.ForwardPath) []error {
	out := make([]error, len(addresses))
	if r.quotas == nil {
		return out
	}
	accounts := make([]uint64, len(addresses))
	var missing []uint64
	now := r.now()
	for i, a := range addresses {
		accounts[i] = resolver.Account(a)
	}
	r.mu.Lock()
	for _, id := range accounts {
		if k, ok := r.known[id]; id != 0 && (!ok || !now.Before(k.until)) {
			missing = append(missing, id)
		}
	}
	if now.Before(r.paused) {
		missing = nil
	}
	r.mu.Unlock()
	if len(missing) > 0 {
		r.ask(ctx, missing)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, id := range accounts {
		if k := r.known[id]; k.full && now.Before(k.until) {
			out[i] = r.full
		}
	}
	return out
}

// ask asks the store, for a moment.
func (r *Rooms) ask(ctx context.Context, accounts []uint64) {
	ctx, cancel := context.WithTimeout(ctx, roomTimeout)
	defer cancel()
	resp, err := r.quotas.Full(ctx, &storev1.FullRequest{Accounts: accounts})
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if err != nil || len(resp.GetFull()) != len(accounts) {
		r.paused = now.Add(roomPause)
		return
	}
	if len(r.known)+len(accounts) > maxRooms {
		clear(r.known)
	}
	for i, id := range accounts {
		r.known[id] = room{resp.GetFull()[i], now.Add(roomTTL)}
	}
}
