package view

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// manyChunks is a store of mailboxes of some chunks, of one message each, whose flags change. The id of a mailbox is how many
// chunks it has.
type manyChunks struct {
	mu      sync.Mutex
	modSeq  uint64
	changed map[mailbox.ID]map[int]uint64 // a chunk's MODSEQ; 1 where it is not there
	gone    bool
	broken  bool
	// keywords are those of all mailboxes.
	keywords []string
	asked    []*storev1.SnapshotRequest
	// hold keeps the second half of every answer back, and halfway tells of it; nil: nothing is.
	hold, halfway chan struct{}

	hears map[int]func([]uint64, uint64)
	next  int
}

func newManyChunks() *manyChunks {
	return &manyChunks{modSeq: 1, changed: map[mailbox.ID]map[int]uint64{}, hears: map[int]func([]uint64, uint64){}}
}

func (m *manyChunks) Snapshot(ctx context.Context, in *storev1.SnapshotRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SnapshotResponse], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, in)
	switch {
	case m.gone:
		return nil, status.Error(codes.NotFound, "no such mailbox")
	case m.broken:
		return nil, status.Error(codes.Unavailable, "away")
	}
	id := mailbox.ID(in.GetMailbox())
	highest := uint64(1)
	for _, seq := range m.changed[id] {
		highest = max(highest, seq)
	}
	half := [2]*storev1.SnapshotResponse{{Mailbox: &storev1.Mailbox{UidValidity: 1, UidNext: uint32(id) + 1, HighestModSeq: highest, Keywords: m.keywords}}, {Done: true}}
	for i := range int(id) {
		seq := max(1, m.changed[id][i])
		if seq <= in.GetSinceModSeq() {
			continue
		}
		c := mailbox.Chunk{FirstUID: mailbox.UID(i + 1)}
		c.Add(mailbox.Entry{UID: mailbox.UID(i + 1), ModSeq: mailbox.ModSeq(seq), Email: 1, Flags: mailbox.Flags(seq&1) * mailbox.Seen})
		p := c.Pack()
		page := half[2*i/int(id)]
		page.Chunks = append(page.Chunks, &storev1.Chunk{FirstUid: uint32(i + 1), MaxModSeq: seq, Uids: p.UIDs, Flags: p.Flags, ModSeqs: p.ModSeqs,
			Emails: p.Emails, Sizes: p.Sizes, Received: p.Received, Saved: p.Saved})
	}
	return &halves{pages{rest: half[:]}, ctx, m.hold, m.halfway}, nil
}

// halves is an answer whose second half may be held back.
type halves struct {
	pages
	ctx           context.Context
	hold, halfway chan struct{}
}

func (h *halves) Recv() (*storev1.SnapshotResponse, error) {
	if h.hold != nil && len(h.rest) == 1 {
		h.halfway <- struct{}{}
		select {
		case <-h.hold:
		case <-h.ctx.Done():
			return nil, h.ctx.Err()
		}
	}
	return h.pages.Recv()
}

// change changes chunks of a mailbox at once and returns the MODSEQ after.
func (m *manyChunks) change(id mailbox.ID, chunks ...int) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.modSeq++
	if m.changed[id] == nil {
		m.changed[id] = map[int]uint64{}
	}
	for _, i := range chunks {
		m.changed[id][i] = m.modSeq
	}
	return m.modSeq
}

// tell sends a notice to all who listen.
func (m *manyChunks) tell(id mailbox.ID, seq uint64) {
	m.mu.Lock()
	var hears []func([]uint64, uint64)
	for _, hear := range m.hears {
		hears = append(hears, hear)
	}
	m.mu.Unlock()
	for _, hear := range hears {
		hear([]uint64{uint64(id)}, seq)
	}
}

func (m *manyChunks) listen(_ mailbox.AccountID, hear func([]uint64, uint64)) func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next++
	id := m.next
	m.hears[id] = hear
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.hears, id)
	}
}

// requests are those since the last call.
func (m *manyChunks) requests() []*storev1.SnapshotRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	asked := m.asked
	m.asked = nil
	return asked
}

func (m *manyChunks) listeners() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.hears)
}

// sound tells whether all entries are what the store had at the snapshot's MODSEQ at the latest, and none is older than the last
// change of all.
func sound(s *Snapshot, id mailbox.ID, all uint64) error {
	if s.Len() != uint32(id) {
		return fmt.Errorf("%d messages, want %d", s.Len(), id)
	}
	return s.Walk(s.All(), WantModSeq|WantFlags, func(seq uint32, cols *Columns, lo, hi int) error {
		for i := lo; i < hi; i++ {
			n := uint64(cols.ModSeqs[i])
			if n < all || n > uint64(s.HighestModSeq) || cols.Flags[i] != mailbox.Flags(n&1)*mailbox.Seen {
				return fmt.Errorf("number %d is at %d with flags %b, the mailbox at %d, changed at %d", int(seq)+i-lo, n, cols.Flags[i], s.HighestModSeq, all)
			}
		}
		return nil
	})
}

const large, small = mailbox.ID(10 * largeChunks), mailbox.ID(largeChunks)

func everyChunk(id mailbox.ID) []int {
	all := make([]int, id)
	for i := range all {
		all[i] = i
	}
	return all
}

// freshening runs a test with a cache over a store that keeps what was left up to date; in a bubble, so that what does not end with
// it fails the test.
func freshening(t *testing.T, run func(t *testing.T, m *manyChunks, c *Cache, pass func(time.Duration))) {
	synctest.Test(t, func(t *testing.T) {
		m := newManyChunks()
		c := NewCache(m, 1<<30, time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.Freshen(ctx, m.listen)
		}()
		run(t, m, c, func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		})
		cancel()
		<-ended
		if n := m.listeners(); n != 0 {
			t.Errorf("%d listen after the end", n)
		}
	})
}

// visit opens a mailbox and leaves it.
func visit(t *testing.T, c *Cache, id mailbox.ID) *Snapshot {
	t.Helper()
	b, s, err := c.Open(t.Context(), Key{Account: 1, Actor: 1, ID: id}, false)
	if err != nil {
		t.Fatal(err)
	}
	b.Close(false)
	return s
}

// held is what the cache has of a mailbox that was left, nil for nothing.
func held(c *Cache, id mailbox.ID) *Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.boxes[Key{Account: 1, Actor: 1, ID: id}]; b != nil {
		return b.Current()
	}
	return nil
}

// TestFreshen: a large mailbox that was left becomes current though nobody opens it, seldom at that; who opens it is told no more
// than what changed since.
func TestFreshen(t *testing.T) {
	freshening(t, func(t *testing.T, m *manyChunks, c *Cache, pass func(time.Duration)) {
		visit(t, c, large)
		visit(t, c, small)
		synctest.Wait()
		if n := m.listeners(); n != 0 {
			t.Errorf("%d listen for what was left just now", n)
		}
		missed := m.change(large, everyChunk(large)...) // nobody hears of it
		m.requests()
		pass(freshenPause)
		if n := m.listeners(); n != 1 {
			t.Fatalf("%d listen, want one for the large mailbox", n)
		}
		if s := held(c, large); uint64(s.HighestModSeq) != missed {
			t.Errorf("at %d, want %d as before it was listened for", s.HighestModSeq, missed)
		}
		m.requests()
		pass(time.Minute)
		if asked := m.requests(); len(asked) != 0 {
			t.Fatalf("asked %d times when nothing changed", len(asked))
		}
		seq := m.change(large, everyChunk(large)...)
		m.tell(large, seq)
		synctest.Wait()
		if s := held(c, large); uint64(s.HighestModSeq) != seq {
			t.Errorf("at %d behind the notice, want %d", s.HighestModSeq, seq)
		} else if err := sound(s, large, seq); err != nil {
			t.Error(err)
		}
		if asked := m.requests(); len(asked) != 1 || asked[0].GetSinceModSeq() != missed || asked[0].GetTakeRecent() {
			t.Errorf("asked %v, want once for what changed since %d", asked, missed)
		}
		// Notices of what is known, and of others.
		m.tell(large, seq)
		m.tell(small, seq+1)
		pass(time.Minute)
		if asked := m.requests(); len(asked) != 0 {
			t.Errorf("asked %v", asked)
		}
		// A steady stream of changes for ten seconds.
		const every = 10 * time.Millisecond
		for range 1000 {
			seq = m.change(large, rand.IntN(int(large)))
			m.tell(large, seq)
			pass(every)
		}
		pass(freshenPauseMost)
		if n := len(m.requests()); n < 5 || n > int(1000*every/freshenPauseMost)+5 {
			t.Errorf("asked %d times in ten seconds", n)
		}
		if s := held(c, large); uint64(s.HighestModSeq) != seq {
			t.Errorf("at %d, want %d", s.HighestModSeq, seq)
		}
		// The store is away for one, and comes back.
		m.broken = true
		seq = m.change(large, 7)
		m.tell(large, seq)
		pass(time.Minute)
		if s := held(c, large); s == nil || uint64(s.HighestModSeq) != seq-1 {
			t.Error("what was held is not there any more when the store is away")
		}
		m.broken = false
		m.requests()
		if s := visit(t, c, large); uint64(s.HighestModSeq) != seq {
			t.Errorf("opened at %d, want %d", s.HighestModSeq, seq)
		}
		if asked := m.requests(); len(asked) != 1 || asked[0].GetSinceModSeq() != seq-1 {
			t.Errorf("opening asked %v, want what changed since %d", asked, seq-1)
		}
		// Somebody has it open: nobody listens.
		pass(freshenPause)
		b, _, err := c.Open(t.Context(), Key{Account: 1, Actor: 1, ID: large}, false)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := m.listeners(); n != 0 {
			t.Errorf("%d listen for what is open", n)
		}
		b.Close(false)
		pass(freshenPause)
		if n := m.listeners(); n != 1 {
			t.Errorf("%d listen for what was left again", n)
		}
		// Kept alive by nothing but notices it goes in time.
		for range 20 {
			seq = m.change(large, 1)
			m.tell(large, seq)
			pass(keepLeft / 20)
		}
		if n := m.listeners(); n != 0 || held(c, large) != nil || c.Left() != 0 {
			t.Errorf("%d listen for what was left long ago, %d octets are held", n, c.Left())
		}
	})
}

// TestFreshenGone: a mailbox that is deleted is let go of.
func TestFreshenGone(t *testing.T) {
	freshening(t, func(t *testing.T, m *manyChunks, c *Cache, pass func(time.Duration)) {
		visit(t, c, large)
		pass(freshenPause)
		m.gone = true
		m.tell(large, 0)
		pass(freshenPause)
		if n := m.listeners(); n != 0 || held(c, large) != nil || c.Left() != 0 {
			t.Errorf("%d listen for what is gone, %d octets are held", n, c.Left())
		}
	})
}

// TestFreshenWeighs: what a mailbox grew by behind all backs counts against the memory that there is.
func TestFreshenWeighs(t *testing.T) {
	freshening(t, func(t *testing.T, m *manyChunks, c *Cache, pass func(time.Duration)) {
		visit(t, c, large)
		before := c.Left()
		pass(freshenPause)
		m.keywords = []string{"$Forwarded", "$MDNSent"}
		m.tell(large, m.change(large, everyChunk(large)...))
		pass(freshenPause)
		if got, want := c.Left(), held(c, large).size(); got != want || got <= before {
			t.Errorf("%d octets are counted, %d held, %d before", got, want, before)
		}
		visit(t, c, large)
		if got, want := c.Left(), held(c, large).size(); got != want {
			t.Errorf("%d octets are counted, %d held", got, want)
		}
	})
}

// TestOpenWhileFreshening: who opens a mailbox while it is brought up to date waits for it, and reads it no second time.
func TestOpenWhileFreshening(t *testing.T) {
	freshening(t, func(t *testing.T, m *manyChunks, c *Cache, pass func(time.Duration)) {
		visit(t, c, large)
		pass(freshenPause)
		m.mu.Lock()
		m.hold, m.halfway = make(chan struct{}), make(chan struct{})
		m.mu.Unlock()
		seq := m.change(large, everyChunk(large)...)
		m.requests()
		m.tell(large, seq)
		<-m.halfway
		m.mu.Lock()
		hold := m.hold
		m.hold, m.halfway = nil, nil
		m.mu.Unlock()
		if s := held(c, large); uint64(s.HighestModSeq) >= seq {
			t.Errorf("at %d when half is read", s.HighestModSeq)
		}
		opened := make(chan *Snapshot)
		go func() { opened <- visit(t, c, large) }()
		synctest.Wait()
		select {
		case s := <-opened:
			t.Fatalf("opened at %d while half is read", s.HighestModSeq)
		default:
		}
		close(hold)
		if err := sound(<-opened, large, seq); err != nil {
			t.Error(err)
		}
		if asked := m.requests(); len(asked) != 2 || asked[1].GetSinceModSeq() != seq {
			t.Errorf("asked %v, want what changed since %d after the first", asked, seq)
		}
	})
}

// TestFreshenHangs: a store that does not answer keeps nobody from ending.
func TestFreshenHangs(t *testing.T) {
	freshening(t, func(t *testing.T, m *manyChunks, c *Cache, pass func(time.Duration)) {
		visit(t, c, large)
		pass(freshenPause)
		m.mu.Lock()
		m.hold, m.halfway = make(chan struct{}), make(chan struct{}, 1)
		m.mu.Unlock()
		m.tell(large, m.change(large, 1))
		<-m.halfway
	})
}

// TestFreshenCrowd: mailboxes are opened, left, changed and told of from all sides; who opens one sees all that was changed before.
func TestFreshenCrowd(t *testing.T) {
	freshening(t, func(t *testing.T, m *manyChunks, c *Cache, pass func(time.Duration)) {
		var crowd sync.WaitGroup
		for who := range 8 {
			r := rand.New(rand.NewPCG(uint64(who), 1))
			id := large + mailbox.ID(who%3)
			crowd.Go(func() {
				for range 100 {
					switch r.IntN(3) {
					case 0:
						m.tell(id, m.change(id, everyChunk(id)...))
					case 1:
						<-time.After(time.Duration(r.IntN(int(2 * freshenPause))))
					default:
						seq := m.change(id, everyChunk(id)...)
						if err := sound(visit(t, c, id), id, seq); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		crowd.Wait()
		pass(freshenPauseMost)
		var size int64
		for i := range mailbox.ID(3) {
			size += held(c, large+i).size()
		}
		if c.Left() != size || c.Freshened() == 0 {
			t.Errorf("%d octets are counted, %d held, %d refreshes", c.Left(), size, c.Freshened())
		}
	})
}
