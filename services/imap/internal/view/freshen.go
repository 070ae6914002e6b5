package view

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Large mailboxes that nobody has open are brought up to date when they change: who opens one again does not wait for what
// another protocol, or another process, changed all over it. Small ones cost little when they are opened, and a refresh for each
// delivery would cost more.
const (
	// largeChunks is how many chunks a mailbox has at most that is not large: 64 hold 16,384 messages.
	largeChunks = 64
	// freshenPause is how long a mailbox was left before it is listened for, and how long lies between two refreshes of it at least;
	// where it changes all the time the pause grows to freshenPauseMost.
	freshenPause     = 200 * time.Millisecond
	freshenPauseMost = 8 * freshenPause
	// freshenAtOnce bounds the refreshes under way in a process.
	freshenAtOnce = 2
	// freshenTime bounds one: who opens the mailbox meanwhile waits for it.
	freshenTime = 10 * time.Second
)

// Listen calls hear for changes in an account until stop: of which mailboxes, and its MODSEQ after, 0 where that is not known.
// hear does not block.
type Listen func(account mailbox.AccountID, hear func(boxes []uint64, seq uint64)) (stop func())

// Freshen keeps large mailboxes that were left up to date until ctx ends, and lets go of them in time. It returns once all that it
// began has ended. A cache has one. While no large mailbox is left, it listens for none and waits.
func (c *Cache) Freshen(ctx context.Context, listen Listen) {
	f := &freshener{cache: c, listen: listen, ears: map[*Box]*ear{}}
	defer f.running.Wait()
	defer f.hearNothing()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.stir:
		case <-timer.C:
		}
		if wait, any := f.pass(ctx); any {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
	}
}

// Freshened is how many mailboxes were brought up to date that nobody had open.
func (c *Cache) Freshened() uint64 { return c.freshened.Load() }

// stirred wakes Freshen; it never blocks.
func (c *Cache) stirred() {
	select {
	case c.stir <- struct{}{}:
	default: // it will look anyway
	}
}

// freshener is the state of Freshen; its goroutine alone has ears.
type freshener struct {
	cache   *Cache
	listen  Listen
	ears    map[*Box]*ear
	busy    atomic.Int32
	running sync.WaitGroup
}

// ear is what listens for a large mailbox that was left.
type ear struct {
	stop func()
	// due tells that the mailbox changed since its last refresh began, and busy that one has not ended. next is when another may
	// begin, which was pause after the last one.
	due   atomic.Bool
	busy  atomic.Bool
	next  time.Time
	pause time.Duration
}

// pass listens for what was left, begins what is due, and tells when to look again where nothing happens; any is false where there
// is nothing to wait for.
func (f *freshener) pass(ctx context.Context) (wait time.Duration, any bool) {
	c := f.cache
	c.mu.Lock()
	c.trim()
	now := c.now()
	left := make(map[*Box]time.Time, len(c.large))
	for b := range c.large {
		left[b] = b.leftAt
	}
	c.mu.Unlock()
	for b, e := range f.ears {
		if _, there := left[b]; !there {
			e.stop()
			delete(f.ears, b)
		}
	}
	wait = keepLeft
	until := func(t time.Time) { wait = min(wait, max(t.Sub(now), time.Millisecond)) }
	for b, at := range left {
		until(at.Add(keepLeft))
		e := f.ears[b]
		if e == nil {
			if now.Before(at.Add(freshenPause)) {
				until(at.Add(freshenPause)) // it may be opened again at once
				continue
			}
			e = f.hear(b)
		}
		switch {
		case !e.due.Load() || e.busy.Load(): // its end stirs
		case now.Before(e.next):
			until(e.next)
		case f.busy.Load() < freshenAtOnce:
			if now.Sub(e.next) > e.pause {
				e.pause = freshenPause
			} else {
				e.pause = min(2*e.pause, freshenPauseMost)
			}
			e.next = now.Add(e.pause)
			f.begin(ctx, b, e)
		}
	}
	return wait, len(left) > 0
}

// hear begins to listen for a mailbox. What changed before is looked for too.
func (f *freshener) hear(b *Box) *ear {
	e := &ear{}
	e.due.Store(true)
	f.ears[b] = e
	e.stop = f.listen(b.key.Account, func(boxes []uint64, seq uint64) {
		if b.changedBy(boxes, seq) && !e.due.Swap(true) {
			f.cache.stirred()
		}
	})
	return e
}

func (f *freshener) hearNothing() {
	for _, e := range f.ears {
		e.stop()
	}
}

// begin begins a refresh.
func (f *freshener) begin(ctx context.Context, b *Box, e *ear) {
	// Before the store is asked: what changes from here on is due again.
	e.due.Store(false)
	e.busy.Store(true)
	f.busy.Add(1)
	f.running.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, freshenTime)
		defer cancel()
		b.freshen(ctx)
		f.busy.Add(-1)
		e.busy.Store(false)
		f.cache.stirred()
	})
}

// changedBy tells whether a notice is about something of the mailbox that is not known yet.
func (b *Box) changedBy(boxes []uint64, seq uint64) bool {
	if seq != 0 && seq <= uint64(b.current.Load().HighestModSeq) {
		return false
	}
	for _, id := range boxes {
		if mailbox.ID(id) == b.key.ID {
			return true
		}
	}
	return false
}

// freshen brings a mailbox up to date that nobody has open. It takes \Recent for nobody; who opens the mailbox meanwhile waits, and
// asks for what little changed since. Where the store does not answer, what is held stays as it was: whoever opens it asks again.
func (b *Box) freshen(ctx context.Context) {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-b.turn }()
	defer func() {
		if recover() != nil {
			b.cache.weigh(b, true) // read from the start it may do; if not, the session that opens it tells of it
		}
	}()
	if !b.isLeft() {
		return
	}
	s, err := b.fetch(ctx, false)
	if err == nil {
		b.current.Store(s)
		b.cache.freshened.Add(1)
	}
	b.cache.weigh(b, err == ErrGone)
}

// isLeft tells whether the box is kept while nobody has it open.
func (b *Box) isLeft() bool {
	b.cache.mu.Lock()
	defer b.cache.mu.Unlock()
	return b.place != nil
}

// weigh takes account of what a box that was left holds now; one that is gone is let go of.
func (c *Cache) weigh(b *Box, gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.place == nil {
		return // it was opened, or let go of, meanwhile
	}
	if gone {
		c.takeUp(b)
		delete(c.boxes, b.key)
		return
	}
	s := b.current.Load()
	size := s.size()
	c.size += size - b.size
	b.size = size
	if len(s.chunks) <= largeChunks {
		delete(c.large, b)
	}
	c.trim()
}
