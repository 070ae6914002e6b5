package view

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// ErrGone is a mailbox that does not exist any more.
var ErrGone = errors.New("mailbox is gone")

// Store is what a Cache needs of storev1.MailboxesClient.
type Store interface {
	Snapshot(ctx context.Context, in *storev1.SnapshotRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SnapshotResponse], error)
}

// Cache holds the mailboxes that sessions of this process have open, each once, and for a while those that they had open
// last: who comes back to one is told what changed since.
type Cache struct {
	store Store
	limit int64 // octets of what nobody has open
	now   func() time.Time

	mu    sync.Mutex
	boxes map[Key]*Box // guarded by mu
	left  *list.List   // of *Box that nobody has open, the last left first; guarded by mu
	size  int64        // theirs, octets; guarded by mu
	// large are those of left that Freshen keeps up to date, and stir wakes it; see freshen.go.
	large     map[*Box]struct{} // guarded by mu
	stir      chan struct{}
	freshened atomic.Uint64
}

// keepLeft is how long a mailbox that nobody has open is kept: clients come back within minutes.
const keepLeft = 15 * time.Minute

// Key names a mailbox as somebody sees it.
type Key struct {
	// Account is the owner, and Actor who reads: flags of a shared mailbox may be each reader's own.
	Account, Actor mailbox.AccountID
	ID             mailbox.ID
}

// NewCache makes an empty cache over store, which holds so many octets of mailboxes that nobody has open.
func NewCache(store Store, limit int64, now func() time.Time) *Cache {
	return &Cache{store: store, limit: limit, now: now, boxes: map[Key]*Box{}, left: list.New(),
		large: map[*Box]struct{}{}, stir: make(chan struct{}, 1)}
}

// Len is how many mailboxes are open.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.boxes) - c.left.Len()
}

// Left is how many octets are held of mailboxes that nobody has open.
func (c *Cache) Left() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}

// leave keeps a box that was left; mu is held.
func (c *Cache) leave(b *Box) {
	s := b.current.Load()
	if s == nil {
		delete(c.boxes, b.key)
		return
	}
	b.size, b.leftAt = s.size(), c.now()
	b.place = c.left.PushFront(b)
	c.size += b.size
	if len(s.chunks) > largeChunks {
		c.large[b] = struct{}{}
		c.stirred()
	}
	c.trim()
}

// trim lets go of what was left too long ago, or is too much; mu is held.
func (c *Cache) trim() {
	for e := c.left.Back(); e != nil; e = c.left.Back() {
		b := e.Value.(*Box)
		if c.size <= c.limit && c.now().Sub(b.leftAt) < keepLeft {
			return
		}
		c.takeUp(b)
		delete(c.boxes, b.key)
	}
}

// takeUp takes a box out of those that were left; mu is held.
func (c *Cache) takeUp(b *Box) {
	c.left.Remove(b.place)
	c.size -= b.size
	b.place = nil
	if _, large := c.large[b]; large {
		delete(c.large, b)
		c.stirred()
	}
}

// Box is one open mailbox.
type Box struct {
	cache *Cache
	key   Key
	refs  int // guarded by cache.mu
	// place is among those that were left, nil while somebody has it open; with it how much it holds, and since when. Guarded
	// by cache.mu.
	place  *list.Element
	size   int64
	leftAt time.Time
	// takers counts the sessions that take \Recent.
	takers atomic.Int32

	// turn is taken by who asks the store; a channel, so that waiting can end.
	turn chan struct{}
	// begun counts the refreshes that were begun; written by who has the turn.
	begun   atomic.Uint64
	current atomic.Pointer[Snapshot]
}

// Open gives the box of a mailbox, up to date. takeRecent tells that a session begins that sees \Recent and takes it
// (SELECT of IMAP4rev1); Close is told the same. Errors: ErrGone, and what the store says.
func (c *Cache) Open(ctx context.Context, k Key, takeRecent bool) (*Box, *Snapshot, error) {
	c.mu.Lock()
	c.trim()
	b := c.boxes[k]
	if b != nil && b.place != nil {
		c.takeUp(b)
	}
	if b == nil {
		b = &Box{cache: c, key: k, turn: make(chan struct{}, 1)}
		c.boxes[k] = b
	}
	b.refs++
	c.mu.Unlock()
	if takeRecent {
		b.takers.Add(1)
	}
	s, err := b.refresh(ctx, takeRecent)
	if err != nil {
		b.close(takeRecent, err != ErrGone)
		return nil, nil, err
	}
	return b, s, nil
}

// Close lets go of the box; with its last session it is kept for a while.
func (b *Box) Close(takeRecent bool) { b.close(takeRecent, true) }

func (b *Box) close(takeRecent, keep bool) {
	if takeRecent {
		b.takers.Add(-1)
	}
	b.cache.mu.Lock()
	defer b.cache.mu.Unlock()
	b.refs--
	switch {
	case b.refs > 0:
	case keep:
		b.cache.leave(b)
	default:
		delete(b.cache.boxes, b.key)
	}
}

// Current is the last snapshot that was fetched.
func (b *Box) Current() *Snapshot { return b.current.Load() }

// Refresh brings the box up to date: what was committed before the call is in the snapshot. Sessions that ask at once
// share one RPC. Errors: ErrGone, and what the store says.
func (b *Box) Refresh(ctx context.Context) (*Snapshot, error) { return b.refresh(ctx, false) }

// refresh shares nothing with others where it opens the box for one that takes \Recent: the answer tells where that begins.
func (b *Box) refresh(ctx context.Context, opens bool) (*Snapshot, error) {
	arrived := b.begun.Load()
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-b.turn }()
	if s := b.current.Load(); s != nil && !opens && b.begun.Load() > arrived {
		// Another's refresh began after we came, and has ended well or its error would have left begun as it was.
		return s, nil
	}
	n := b.begun.Add(1)
	s, err := b.fetch(ctx, b.takers.Load() > 0)
	if err != nil {
		// Who waits must ask again.
		b.begun.CompareAndSwap(n, n-1)
		return nil, err
	}
	b.current.Store(s)
	return s, nil
}

// fetch asks the store for what changed, or for everything where what we have is of a history that it lost.
func (b *Box) fetch(ctx context.Context, takeRecent bool) (*Snapshot, error) {
	have := b.current.Load()
	var first Meta
	s, err := b.ask(ctx, have, takeRecent, &first)
	if !errors.Is(err, errUnfit) && (err != nil || have == nil || s.UIDValidity == have.UIDValidity) {
		return s, err
	}
	if s, err = b.ask(ctx, nil, takeRecent, &Meta{}); err != nil {
		return nil, err
	}
	if takeRecent && s.UIDValidity == first.UIDValidity {
		// The first answer took it, and alone tells where it began.
		s.RecentUID = min(s.RecentUID, first.RecentUID)
	}
	return s, nil
}

// ask asks for what changed since have; nil is since ever. told is what it tells of the mailbox, which stands where the rest
// does not fit.
func (b *Box) ask(ctx context.Context, have *Snapshot, takeRecent bool, told *Meta) (*Snapshot, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req := &storev1.SnapshotRequest{Account: uint64(b.key.Account), Actor: uint64(b.key.Actor), Mailbox: uint64(b.key.ID), TakeRecent: takeRecent}
	if have != nil {
		req.SinceModSeq, req.TakesFlags = uint64(have.HighestModSeq), true
	}
	stream, err := b.cache.store.Snapshot(ctx, req)
	if err != nil {
		return nil, gone(err)
	}
	cols := columnPool.Get().(*Columns)
	defer columnPool.Put(cols)
	var (
		box      *storev1.Mailbox
		chunks   []*Chunk
		empty    []mailbox.UID // chunks that lost their last entry
		expunged mailbox.UIDSet
		complete = have == nil
	)
	for done := false; !done; {
		page, err := stream.Recv()
		if err == io.EOF {
			return nil, fmt.Errorf("snapshot of mailbox %d: ended before it was done", b.key.ID)
		}
		if err != nil {
			return nil, gone(err)
		}
		if box == nil {
			if box = page.GetMailbox(); box != nil {
				*told = metaFrom(b.key, box)
			}
		}
		complete = complete || page.GetComplete()
		for _, p := range page.GetChunks() {
			known := have.named(mailbox.UID(p.GetFirstUid()))
			if page.GetFlagsOnly() {
				c, err := known.withFlags(p)
				if err != nil {
					return nil, fmt.Errorf("snapshot of mailbox %d: %w", b.key.ID, err)
				}
				chunks = append(chunks, c)
				continue
			}
			c, err := known.changed(packedFrom(p), cols)
			if err != nil {
				return nil, fmt.Errorf("snapshot of mailbox %d: %w", b.key.ID, err)
			}
			if c != nil {
				chunks = append(chunks, c)
			} else {
				empty = append(empty, mailbox.UID(p.GetFirstUid()))
			}
		}
		gone, err := mailbox.DecodeUIDSet(page.GetExpunged())
		if err != nil {
			return nil, fmt.Errorf("snapshot of mailbox %d: expunged: %w", b.key.ID, err)
		}
		for _, r := range gone {
			if n := len(expunged); n > 0 && r.First < expunged[n-1].First {
				expunged = mailbox.NewUIDSet(append(expunged, r)...)
				continue
			}
			expunged = expunged.Append(r.First, r.Last)
		}
		done = page.GetDone()
	}
	// The store ends the stream; waiting for it gives the stream's memory back without a reset.
	if _, err := stream.Recv(); err != nil && err != io.EOF {
		return nil, gone(err)
	}
	if box == nil {
		return nil, fmt.Errorf("snapshot of mailbox %d: the first page tells no mailbox", b.key.ID)
	}
	if complete {
		return newSnapshot(*told, chunks), nil
	}
	if len(chunks) == 0 && len(expunged) == 0 && len(empty) == 0 && told.same(&have.Meta) {
		return have, nil
	}
	merged := have.merge(chunks, empty, expunged, cols)
	return newSnapshot(*told, merged), nil
}

// named is the chunk that begins with a UID, nil where there is none, or no snapshot.
func (s *Snapshot) named(first mailbox.UID) *Chunk {
	if s == nil {
		return nil
	}
	i, found := s.place(first)
	if !found {
		return nil
	}
	return s.chunks[i]
}

// place is where the chunk that begins with a UID is, or would be.
func (s *Snapshot) place(first mailbox.UID) (int, bool) {
	return slices.BinarySearchFunc(s.chunks, first, func(c *Chunk, first mailbox.UID) int { return cmp.Compare(c.first, first) })
}

// merge puts changed chunks in the place of old ones and takes out what was expunged.
func (s *Snapshot) merge(changed []*Chunk, empty []mailbox.UID, expunged mailbox.UIDSet, cols *Columns) []*Chunk {
	out := make([]*Chunk, 0, len(s.chunks)+len(changed))
	i := 0
	for _, c := range changed {
		for ; i < len(s.chunks) && s.chunks[i].first < c.first; i++ {
			out = appendLeft(out, s.chunks[i], empty, expunged, cols)
		}
		if i < len(s.chunks) && s.chunks[i].first == c.first {
			i++
		}
		out = append(out, c)
	}
	for ; i < len(s.chunks); i++ {
		out = appendLeft(out, s.chunks[i], empty, expunged, cols)
	}
	return out
}

// appendLeft appends what is left of an unchanged chunk.
func appendLeft(out []*Chunk, c *Chunk, empty []mailbox.UID, expunged mailbox.UIDSet, cols *Columns) []*Chunk {
	if slices.Contains(empty, c.first) {
		return out
	}
	if gone := expunged.Overlapping(c.first, c.last); len(gone) > 0 {
		c = c.without(gone, cols)
	}
	if c != nil {
		out = append(out, c)
	}
	return out
}

func metaFrom(k Key, m *storev1.Mailbox) Meta {
	return Meta{
		Account: k.Account, ID: k.ID, Name: m.GetName(),
		UIDValidity: mailbox.UIDValidity(m.GetUidValidity()), UIDNext: mailbox.UID(m.GetUidNext()),
		HighestModSeq: mailbox.ModSeq(m.GetHighestModSeq()), Keywords: m.GetKeywords(),
		RecentUID: mailbox.UID(m.GetRecentUid()),
	}
}

// same tells whether nothing that a client could be told differs.
func (m *Meta) same(o *Meta) bool {
	return m.Name == o.Name && m.UIDValidity == o.UIDValidity && m.UIDNext == o.UIDNext && m.HighestModSeq == o.HighestModSeq &&
		m.RecentUID == o.RecentUID && slices.Equal(m.Keywords, o.Keywords)
}

func gone(err error) error {
	if status.Code(err) == codes.NotFound {
		return ErrGone
	}
	return err
}
