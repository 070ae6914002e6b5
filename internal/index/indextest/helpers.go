package indextest

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// tester is testing.TB or *rapid.T.
type tester interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// all is every UID there can be.
var all = mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}}

// nowhere is an id that no mailbox has: ids begin with the time.
const nowhere mailbox.ID = 12345

// serial makes each message another one.
var serial atomic.Uint32

// newMessage is a message of size octets, 100 of them in its prefix.
func newMessage(size int64, flags ...string) index.Message {
	n := serial.Add(1)
	return index.Message{
		Blob:      blob.ID{Incarnation: 1, Segment: n, Offset: 64, Length: uint32(size)},
		Overlay:   &mailv1.Overlay{Prefix: make([]byte, 100)},
		PartIndex: binary.BigEndian.AppendUint32([]byte{1}, n),
		Size:      size - 100,
		Received:  time.Unix(1_700_000_000+int64(n), 5_000_000),
		Flags:     flags,
	}
}

// newDelivery is a delivery of number 0, entered in the ledger.
func (s *Subject) newDelivery(t tester, account mailbox.AccountID, placements ...index.Placement) index.Delivery {
	t.Helper()
	d := index.Delivery{
		QueueID: envelope.NewQueueID(time.Unix(1_700_000_000, 0)), Account: account, Generation: 3,
		Message: newMessage(1000), Placements: placements,
	}
	s.route(t, d, storev1.State_STATE_QUEUED)
	return d
}

func (s *Subject) route(t tester, d index.Delivery, state storev1.State) {
	t.Helper()
	if err := s.Route(Recipient{d.QueueID, d.Number, d.Account, d.Generation, state}); err != nil {
		t.Fatalf("Route: %v", err)
	}
}

// deliver delivers a batch that must not fail as a whole.
func (s *Subject) deliver(t tester, list ...index.Delivery) []index.DeliverResult {
	t.Helper()
	results, err := s.Mailboxes.Deliver(t.Context(), list)
	if err != nil {
		t.Fatalf("Deliver: %v", err)
	}
	if len(results) != len(list) {
		t.Fatalf("Deliver: %d results for %d deliveries", len(results), len(list))
	}
	return results
}

// append adds messages to a mailbox.
func (s *Subject) append(t tester, account mailbox.AccountID, name string, messages ...index.Message) index.AppendResult {
	t.Helper()
	r, err := s.Mailboxes.Append(t.Context(), account, name, messages)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	if len(r.UIDs) != len(messages) {
		t.Fatalf("Append: %d UIDs for %d messages", len(r.UIDs), len(messages))
	}
	return r
}

// find is a mailbox as List tells it.
func (s *Subject) find(t tester, account mailbox.AccountID, name string) index.Mailbox {
	t.Helper()
	list, _, err := s.Mailboxes.List(t.Context(), account)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	i := slices.IndexFunc(list, func(m index.Mailbox) bool { return m.Name == name })
	if i < 0 {
		t.Fatalf("List: no %q in %v", name, names(list))
	}
	return list[i]
}

func names(list []index.Mailbox) (out []string) {
	for _, m := range list {
		name := m.Name
		if m.ID == 0 {
			name = "(" + name + ")"
		}
		out = append(out, name)
	}
	return out
}

// view is a mailbox as a client has it after a snapshot.
type view struct {
	mailbox  index.Mailbox
	chunks   map[mailbox.UID]mailbox.Chunk
	complete bool
	expunged mailbox.UIDSet
	// sent is how many chunks the last snapshot had.
	sent int
}

// entries are all of them in UID order.
func (v view) entries() (list []mailbox.Entry) {
	firsts := make([]mailbox.UID, 0, len(v.chunks))
	for first := range v.chunks {
		firsts = append(firsts, first)
	}
	slices.Sort(firsts)
	for _, first := range firsts {
		c := v.chunks[first]
		for i := range c.Len() {
			list = append(list, c.At(i))
		}
	}
	return list
}

func (v view) uids() (list []mailbox.UID) {
	for _, e := range v.entries() {
		list = append(list, e.UID)
	}
	return list
}

// look takes a whole snapshot.
func (s *Subject) look(t tester, account mailbox.AccountID, box mailbox.ID) view {
	t.Helper()
	var v view
	if err := s.update(t.Context(), account, box, 0, &v); err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	return v
}

// update brings v, which was taken at since, up to date, as a session does.
func (s *Subject) update(ctx context.Context, account mailbox.AccountID, box mailbox.ID, since mailbox.ModSeq, v *view) error {
	pages, done := 0, false
	v.sent, v.expunged = 0, nil
	err := s.Mailboxes.Snapshot(ctx, index.SnapshotQuery{Account: account, Mailbox: box, Since: since}, func(p *index.Page) error {
		if (pages == 0) != (p.Mailbox != nil) {
			return fmt.Errorf("page %d: mailbox is %v", pages, p.Mailbox)
		}
		if done || len(p.Chunks) > index.PageChunks {
			return fmt.Errorf("page %d: behind the last one, or with %d chunks", pages, len(p.Chunks))
		}
		if pages == 0 {
			v.mailbox, v.complete, v.expunged = *p.Mailbox, p.Complete, p.Expunged
			if p.Complete || since == 0 {
				v.chunks = map[mailbox.UID]mailbox.Chunk{}
			}
		}
		pages, done = pages+1, p.Done
		last := mailbox.UID(0)
		for i := range p.Chunks {
			var c mailbox.Chunk
			if err := c.Unpack(&p.Chunks[i]); err != nil {
				return err
			}
			if c.Len() == 0 || c.Len() > mailbox.ChunkSize || c.FirstUID <= last {
				return fmt.Errorf("chunk %d of %d entries behind chunk %d", c.FirstUID, c.Len(), last)
			}
			last = c.UIDs[c.Len()-1]
			v.chunks[c.FirstUID] = c
			v.sent++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !done {
		return fmt.Errorf("%d pages without a last one", pages)
	}
	for first, c := range v.chunks {
		c.Keep(func(i int) bool { return !v.expunged.Contains(c.UIDs[i]) })
		if v.chunks[first] = c; c.Len() == 0 {
			delete(v.chunks, first)
		}
	}
	return nil
}

// one is a set of one UID.
func one(uid mailbox.UID) mailbox.UIDSet { return mailbox.UIDSet{{First: uid, Last: uid}} }
