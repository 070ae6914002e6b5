package limits

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/obs"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

const (
	// watchPause is the wait before the bucket is read again.
	watchPause = 250 * time.Millisecond
	// keepEvery is how often bans are looked at that the bucket lacks, sweepEvery those that are over.
	keepEvery  = time.Second
	sweepEvery = time.Minute
	// writeTime bounds one write to the bucket.
	writeTime = 2 * time.Second
	// batch bounds how many writes are made in a row.
	batch = 1000
	// patience is how long each process leaves it to those before it to write a ban that the bucket lacks: they may not know it.
	patience = time.Second
)

// banFor bans a client that has failed too often, longer if it was banned lately. All processes hear of it.
func (l *Limits) banFor(client netip.Addr, reason string) {
	now := l.now()
	network := subscriberNetwork(client)
	x := &ban{network: network, pending: true, Ban: &adminv1.Ban{
		Network: network.String(), Reason: reason, SinceNs: now.UnixNano(), ChangedNs: now.UnixNano(), Strikes: 1, Owner: l.self,
	}}
	l.bans.mu.Lock()
	have := l.bans.all[network]
	switch {
	case l.bans.find(client, now) != nil:
		l.bans.mu.Unlock()
		return
	case have == nil && len(l.bans.all) >= l.cfg.MaxBans:
		l.bans.mu.Unlock()
		l.log.Warn("client not banned: there are max_bans bans", obs.Client(client.String()))
		return
	case have != nil:
		x.revision = have.revision
		x.ChangedNs = max(x.ChangedNs, have.ChangedNs+1)
		if have.RemovedNs == 0 && !have.over(now, l.cfg.Logins.Forget) {
			x.Strikes += have.Strikes
		}
	}
	d := l.cfg.Logins.BanTime
	for i := uint32(1); i < x.Strikes && d < l.cfg.Logins.MaxBanTime; i++ {
		d *= 2
	}
	x.UntilNs = now.Add(min(d, l.cfg.Logins.MaxBanTime)).UnixNano()
	l.bans.set(x)
	l.bans.mu.Unlock()

	l.began(x)
	l.metrics.banned.Inc()
	l.log.LogAttrs(context.Background(), slog.LevelInfo, "client banned", obs.Client(x.Network), obs.Reason(reason),
		slog.Time("until", time.Unix(0, x.UntilNs)), slog.Uint64("strikes", uint64(x.Strikes)))
	l.toWrite()
}

// began forgets the failures that a ban ends: behind it the client begins anew.
func (l *Limits) began(x *ban) {
	if x.network == subscriberNetwork(x.network.Addr()) {
		l.table.forgive(clientKey(clientFailed, x.network.Addr()))
	}
}

// toWrite wakes keep.
func (l *Limits) toWrite() {
	select {
	case l.write <- struct{}{}:
	default:
	}
}

// watch keeps what this process knows of the bucket until ctx ends.
func (l *Limits) watch(ctx context.Context) {
	lost := false
	for ctx.Err() == nil {
		l.loaded.Store(false)
		l.bans.doubt()
		err := l.bucket.Watch(ctx, l.changed, func() {
			l.bans.miss(l.now())
			l.loaded.Store(true)
			l.toWrite()
			if lost {
				l.log.Info("bans are shared again")
				lost = false
			}
		})
		if err != nil && ctx.Err() == nil && !errors.Is(err, bus.ErrLost) && !lost {
			lost = true
			l.log.Warn("bans are not shared: what is known here holds", obs.Error(err))
		}
		select {
		case <-time.After(watchPause):
		case <-ctx.Done():
		}
	}
}

// changed takes one entry of the bucket.
func (l *Limits) changed(e bus.BucketEntry) {
	if e.Value == nil {
		if network, ok := networkOf(e.Key); ok {
			l.bans.removed(network)
		}
		return
	}
	x, err := decode(e)
	if err != nil {
		l.log.Warn("ban passed over", obs.Error(err))
		return
	}
	if l.bans.merge(x, l.now()) {
		l.began(x)
	}
}

// keep writes what the bucket lacks, and drops what is over, until ctx ends.
func (l *Limits) keep(ctx context.Context) {
	tick, sweep := time.NewTicker(keepEvery), time.NewTicker(sweepEvery)
	defer tick.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
			defer cancel()
			l.writeMissing(last)
			return
		case <-tick.C:
			l.writeMissing(ctx)
		case <-l.write:
			l.writeMissing(ctx)
		case <-sweep.C:
			l.sweep(ctx)
		}
	}
}

// writeMissing writes what is newer here than in the bucket, and what the bucket lost: whoever made it first, then the others
// in their order, as far as they know it.
func (l *Limits) writeMissing(ctx context.Context) {
	now, since := l.now(), l.since()
	var todo []*ban
	l.bans.mu.RLock()
	for _, x := range l.bans.all {
		if len(todo) == batch {
			break
		}
		if x.pending || !x.missing.IsZero() && x.holds(now) && now.Sub(x.missing) >= time.Duration(l.table.rank(l.self, x.Owner, since))*patience {
			todo = append(todo, x)
		}
	}
	l.bans.mu.RUnlock()
	for _, x := range todo {
		if !l.writeOne(ctx, x) {
			return
		}
	}
}

// writeOne writes a ban, and tells whether the bus is there to take another.
func (l *Limits) writeOne(ctx context.Context, x *ban) bool {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	value, err := proto.Marshal(x.Ban)
	if err != nil {
		l.log.Error("ban not written", obs.Error(err))
		return true
	}
	revision, err := l.bucket.Put(ctx, bucketKey(x.network), value, x.revision)
	if errors.Is(err, bus.ErrChanged) {
		e, err := l.bucket.Get(ctx, bucketKey(x.network))
		if err != nil {
			return false
		}
		if e.Value != nil {
			l.changed(e)
		} else {
			l.bans.gone(x, e.Revision)
		}
		return true
	}
	if err != nil {
		return false
	}
	l.bans.mu.Lock()
	defer l.bans.mu.Unlock()
	if l.bans.all[x.network] == x {
		kept := *x
		kept.revision, kept.pending, kept.missing = revision, false, time.Time{}
		l.bans.set(&kept)
	}
	return true
}

// sweep drops what is over: from memory everybody, from the bucket one.
func (l *Limits) sweep(ctx context.Context) {
	now, since := l.now(), l.since()
	var over []*ban
	l.bans.mu.Lock()
	for network, x := range l.bans.all {
		if x.over(now, l.cfg.Logins.Forget) {
			over = append(over, x)
			l.bans.drop(network)
		}
		if len(over) == batch {
			break
		}
	}
	l.bans.mu.Unlock()
	for _, x := range over {
		if x.revision == 0 || l.table.rank(l.self, x.Owner, since) > 0 {
			continue
		}
		forgetting, cancel := context.WithTimeout(ctx, writeTime)
		err := l.bucket.Forget(forgetting, bucketKey(x.network), x.revision)
		cancel()
		if err != nil {
			return // whoever reads the bucket next finds it over, and drops it
		}
	}
}
