package limits

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/obs"
	limitsv1 "github.com/mailfarm/mailfarm/proto/mailfarm/limits/v1"
)

// hurry is the shortest time between two tellings.
const hurry = 100 * time.Millisecond

// gossip tells and hears until ctx ends; then it takes back what it told.
func (l *Limits) gossip(ctx context.Context) {
	var stop func()
	listen := func() {
		if stop == nil {
			stop, _ = l.bus.Listen(bus.Counts, func(_ string, payload []byte) { l.hear(payload) }) // asked again at the next tick
		}
	}
	listen()
	tick := time.NewTicker(l.cfg.Gossip.Every)
	defer tick.Stop()
	var pause <-chan time.Time // set while the next telling in a hurry has to wait
	hurried := l.table.hurry
	for {
		select {
		case <-ctx.Done():
			if stop != nil {
				stop()
			}
			l.send(&limitsv1.Counts{Process: l.self, Leaving: true})
			return
		case <-tick.C:
			listen()
			l.tell(true)
		case <-hurried:
			l.tell(false)
			hurried, pause = nil, time.After(hurry)
		case <-pause:
			hurried, pause = l.table.hurry, nil
		}
	}
}

// item is what is told of one key.
type item struct {
	entry *entry
	key   key
	count int
	marks []uint32
	ratio float64 // of the limit
}

// size is about what an item takes in a message, octets.
func (i *item) size() int { return 20 + 4*len(i.marks) }

// tell tells the others of the busy keys; without all only of those that grew fast.
func (l *Limits) tell(all bool) {
	items := l.table.tidings(all, l.since())
	if len(items) == 0 && !all {
		return
	}
	items = l.room(items)
	m := &limitsv1.Counts{Process: l.self}
	groups := map[kind]*limitsv1.Counted{}
	for _, i := range items {
		if i.key.kind.attempts() {
			m.Failed = append(m.Failed, &limitsv1.Failed{Kind: limitsv1.Kind(i.key.kind), Key: i.key.id[:], Attempts: i.marks})
			continue
		}
		g := groups[i.key.kind]
		if g == nil {
			g = &limitsv1.Counted{Kind: limitsv1.Kind(i.key.kind)}
			groups[i.key.kind] = g
			m.Counted = append(m.Counted, g)
		}
		g.Keys = append(g.Keys, i.key.id[:]...)
		g.Counts = append(g.Counts, uint32(i.count))
	}
	l.table.told(items)
	l.send(m)
	l.metrics.keysTold.Add(float64(len(items)))
}

// room keeps the items that are nearest to their limits, as many as one message holds.
func (l *Limits) room(items []item) []item {
	size := 0
	for i := range items {
		size += items[i].size()
	}
	if size <= l.cfg.Gossip.MaxBytes {
		return items
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(b.ratio, a.ratio) })
	size = 0
	for i := range items {
		if size += items[i].size(); size > l.cfg.Gossip.MaxBytes {
			l.metrics.keysUntold.Add(float64(len(items) - i))
			return items[:i]
		}
	}
	return items
}

func (l *Limits) send(m *limitsv1.Counts) {
	payload, err := proto.Marshal(m)
	if err != nil {
		l.log.Error("counts not told", obs.Error(err))
		return
	}
	if l.bus.Notify(bus.Counts, payload) == nil { // the bus tells of its own absence
		l.metrics.bytesTold.Add(float64(len(payload)))
	}
}

// tidings are the keys to tell of. What is not busy any more is told of a last time.
func (t *table) tidings(all bool, now time.Duration) (items []item) {
	t.mu.Lock()
	defer t.mu.Unlock()
	add := func(e *entry, n int) {
		i := item{entry: e, key: e.key, count: n, ratio: float64(n) / float64(t.limits[e.key.kind].max)}
		for _, a := range e.failed {
			i.marks = append(i.marks, a.mark)
		}
		items = append(items, i)
	}
	if !all {
		for _, e := range t.growing {
			e.growing = false
			add(e, t.own(e, now))
		}
		t.growing = t.growing[:0]
		return items
	}
	t.forgetPeers(now)
	for e := range t.busy {
		n := t.own(e, now)
		if n == 0 || n < t.limits[e.key.kind].share && !t.heard(e, now) {
			delete(t.busy, e)
			if e.said == 0 {
				continue
			}
		}
		add(e, n)
	}
	return items
}

// told notes what was told.
func (t *table) told(items []item) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range items {
		items[i].entry.said = uint32(items[i].count)
	}
}

// hear takes what another process tells. It comes from within the farm, and is bounded all the same.
func (l *Limits) hear(payload []byte) {
	m := &limitsv1.Counts{}
	if err := proto.Unmarshal(payload, m); err != nil {
		l.log.LogAttrs(context.Background(), slog.LevelWarn, "counts of another process cannot be read", obs.Error(err))
		return
	}
	if m.Process == l.self {
		return
	}
	l.metrics.bytesHeard.Add(float64(len(payload)))
	for _, client := range l.table.listen(m, l.since(), l.cfg.Logins.Failures) {
		l.banFor(client, l.failedReason(l.cfg.Logins.Failures))
	}
}

// listen notes what another process told, and returns the clients that have failed too often, all processes taken together,
// and here too.
func (t *table) listen(m *limitsv1.Counts, now time.Duration, failures int) (guessing []netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	by := t.peer(m.Process, now)
	if by == nil {
		return nil
	}
	if m.Leaving {
		by.gone = true
		delete(t.peers, m.Process)
		return nil
	}
	for _, g := range m.Counted {
		k := key{kind: kind(g.Kind)}
		if !t.known(g.Kind) || k.kind.attempts() {
			continue
		}
		for i := 0; i < len(g.Counts) && len(g.Keys) >= 16*(i+1); i++ {
			copy(k.id[:], g.Keys[16*i:])
			t.hear(k, by, g.Counts[i], nil, now)
		}
	}
	for _, f := range m.Failed {
		k := key{kind: kind(f.Kind)}
		if !t.known(f.Kind) || !k.kind.attempts() || len(f.Key) != 16 || len(f.Attempts) > maxFailures {
			continue
		}
		copy(k.id[:], f.Key)
		e := t.hear(k, by, uint32(len(f.Attempts)), f.Attempts, now)
		if k.kind == clientFailed && e != nil && t.own(e, now) > 0 && t.distinct(e, now) >= failures {
			guessing = append(guessing, netip.AddrFrom16(k.id).Unmap())
		}
	}
	return guessing
}

// known tells whether a kind is one that this process limits; processes of another version may tell of others.
func (t *table) known(k limitsv1.Kind) bool {
	return k > 0 && k < limitsv1.Kind(kinds) && t.limits[k].max > 0
}
