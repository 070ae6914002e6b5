package s3_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/envelope"
)

// world is what was asked of a bucket and what was answered.
type world struct {
	t blobtest.T

	mu       sync.Mutex // guards what follows
	seed     uint64
	answered map[blob.ID]blobtest.Message
	unknown  map[envelope.QueueID]blobtest.Message // commits that failed: they may be kept
	full     map[envelope.QueueID]bool             // commits that failed with ErrFull: they may not
	errs     []error
}

func newWorld(t blobtest.T) *world {
	return &world{
		t: t, answered: map[blob.ID]blobtest.Message{}, unknown: map[envelope.QueueID]blobtest.Message{},
		full: map[envelope.QueueID]bool{},
	}
}

func (w *world) message(n int) blobtest.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seed++
	return blobtest.NewMessage(w.seed, n)
}

// note records what became of a commit.
func (w *world) note(id blob.ID, m blobtest.Message, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		if _, ok := w.answered[id]; ok {
			w.t.Errorf("%v was given twice", id)
		}
		w.answered[id] = m
		return
	case errors.Is(err, blob.ErrFull):
		w.full[m.Meta.QueueID] = true
	case errors.Is(err, blob.ErrTooLarge):
		w.t.Errorf("commit of %d octets: %v", len(m.Body), err)
	default:
		w.unknown[m.Meta.QueueID] = m
	}
	w.errs = append(w.errs, err)
}

// commit commits a message of n octets, if the store lets it begin one.
func (w *world) commit(s *s3.Store, n int) error {
	m := w.message(n)
	d, err := s.Create(blob.ID{})
	if err == nil {
		defer d.Discard()
		for part := range slices.Chunk(m.Body, 70_000) {
			if _, err = d.Write(part); err != nil {
				break
			}
		}
	}
	if err != nil {
		// Not committed: whatever the error, nothing may be kept.
		w.mu.Lock()
		defer w.mu.Unlock()
		w.errs, w.full[m.Meta.QueueID] = append(w.errs, err), true
		return err
	}
	id, err := d.Commit(context.Background(), m.Meta)
	w.note(id, m, err)
	return err
}

// commitAtOnce commits several messages at once.
func (w *world) commitAtOnce(s *s3.Store, sizes ...int) {
	var wg sync.WaitGroup
	for _, n := range sizes {
		wg.Go(func() { w.commit(s, n) })
	}
	wg.Wait()
}

// check compares a store with what was answered: all of it is there, octet for octet, in order; and beside it nothing but
// whole messages whose commit failed with the outcome unknown.
func (w *world) check(s *s3.Store, what string) {
	w.t.Helper()
	var found []blob.ID
	scanned := map[blob.ID]bool{}
	for _, f := range blobtest.ScanAll(w.t, s) {
		found, scanned[f.ID] = append(found, f.ID), true
		if f.Err != nil {
			w.t.Errorf("%s: scan: %v: %v", what, f.ID, f.Err)
			continue
		}
		m, ok := w.answered[f.ID]
		if !ok {
			if m, ok = w.unknown[f.Meta.QueueID]; !ok {
				w.t.Errorf("%s: %v, full %v, is kept at %v", what, f.Meta.QueueID, w.full[f.Meta.QueueID], f.ID)
				continue
			}
		}
		if err := blobtest.Compare(w.t, s, f.ID, m); err != nil {
			w.t.Errorf("%s: %v", what, err)
		}
	}
	for id, m := range w.answered {
		if !scanned[id] {
			w.t.Errorf("%s: answered %v is not found by a scan: %v", what, id, blobtest.Compare(w.t, s, id, m))
		}
	}
	if !slices.IsSortedFunc(found, func(a, b blob.ID) int { return slices.Compare(a.Bytes(), b.Bytes()) }) {
		w.t.Errorf("%s: scan is out of order: %v", what, found)
	}
}

func (w *world) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%d answered, %d unknown, %d not kept: %v", len(w.answered), len(w.unknown), len(w.full), w.errs)
}

// eventually waits until ok.
func eventually(t blobtest.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// live tells whether a store takes an incarnation for living.
func live(t testing.TB, s *s3.Store, id uint64) bool {
	t.Helper()
	all, err := s.Incarnations(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, inc := range all {
		if inc.ID == id {
			return inc.Live
		}
	}
	t.Fatalf("incarnation %d is not listed", id)
	return false
}

// hasty has silence be noticed at once.
func hasty(c *s3.Config) {
	c.Heartbeat, c.DeadAfter = 20*time.Millisecond, 60*time.Millisecond
	c.CacheBytes = -1
}
