package pop3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// lockRetry is how often a login that waits for a maildrop looks again.
const lockRetry = 100 * time.Millisecond

// errLockLost is a maildrop that is not ours any more: it could not be renewed in time.
var errLockLost = errors.New("the maildrop's lock was lost")

// lock is the exclusive right to a maildrop (RFC 1939 §4), a lease that is renewed until release.
type lock struct {
	session *session
	log     *slog.Logger // the session's, which changes with its state
	name    string
	stop    context.CancelFunc
	done    sync.WaitGroup
	// until is when the lease ends unless renewed, by a clock that starts before store is asked: Unix nanoseconds.
	until atomic.Int64
}

// acquire takes the lease, waiting for it for a while. errInUse.
func acquire(c *session, name string) (*lock, error) {
	l := &lock{session: c, log: c.log, name: name}
	give := time.Now().Add(c.svc.cfg.LockWait)
	for {
		taken, err := l.ask(c.ctx)
		if err != nil {
			return nil, fmt.Errorf("lock maildrop: %w", err)
		}
		if taken {
			break
		}
		wait := min(lockRetry, time.Until(give))
		if wait <= 0 {
			return nil, errInUse
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			timer.Stop()
			return nil, c.ctx.Err()
		}
	}
	ctx, stop := context.WithCancel(c.ctx)
	l.stop = stop
	l.done.Go(func() { l.renew(ctx) })
	return l, nil
}

// ask takes or renews the lease.
func (l *lock) ask(ctx context.Context) (taken bool, err error) {
	cfg := &l.session.svc.cfg
	ctx, cancel := context.WithTimeout(ctx, min(cfg.CallTimeout, cfg.Lock/3))
	defer cancel()
	begun := time.Now()
	resp, err := l.session.svc.deps.Leases.Acquire(ctx, &storev1.AcquireRequest{Name: l.name, Holder: l.session.id, DurationMs: cfg.Lock.Milliseconds()})
	if err != nil {
		return false, err
	}
	if resp.GetTaken() {
		l.until.Store(begun.Add(cfg.Lock).UnixNano())
	}
	return resp.GetTaken(), nil
}

// renew keeps the lease. Once it is lost the connection is cut: somebody else may have the maildrop.
func (l *lock) renew(ctx context.Context) {
	tick := time.NewTicker(l.session.svc.cfg.Lock / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		taken, err := l.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil && l.check() == nil:
			l.log.LogAttrs(ctx, slog.LevelWarn, "maildrop lock not renewed yet", obs.Error(err))
		case err != nil || !taken:
			l.until.Store(0)
			l.log.LogAttrs(ctx, slog.LevelWarn, "maildrop lock lost", obs.Error(err))
			l.session.Cut()
			return
		}
	}
}

// check tells whether the lease is still ours: errLockLost.
func (l *lock) check() error {
	if time.Now().UnixNano() >= l.until.Load() {
		return errLockLost
	}
	return nil
}

// release gives the lease back at once. What fails here ends by itself when the lease does.
func (l *lock) release() {
	l.stop()
	l.done.Wait()
	c := l.session
	ctx, cancel := c.call()
	defer cancel()
	if _, err := c.svc.deps.Leases.Release(ctx, &storev1.ReleaseRequest{Name: l.name, Holder: c.id}); err != nil {
		l.log.LogAttrs(c.ctx, slog.LevelWarn, "maildrop lock not given back", obs.Error(err))
	}
}
