package dir_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs/memfs"
	"github.com/mailfarm/mailfarm/internal/envelope"
)

// world is a blob directory in memory, with what was asked of it and what it answered.
type world struct {
	t   blobtest.T
	fs  *memfs.FS
	s   *dir.Store // nil while it could not be opened
	now time.Time
	// halt has nothing be done behind the first error.
	halt    bool
	flushes atomic.Int32 // of frames

	mu       sync.Mutex
	seed     uint64
	answered map[blob.ID]blobtest.Message
	unknown  map[envelope.QueueID]blobtest.Message // commits that failed: they may be kept
	full     map[envelope.QueueID]bool             // commits that failed with ErrFull: they may not
	errs     []error
}

func newWorld(t blobtest.T) *world {
	return &world{
		t: t, fs: memfs.New(), now: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		answered: map[blob.ID]blobtest.Message{}, unknown: map[envelope.QueueID]blobtest.Message{},
		full: map[envelope.QueueID]bool{},
	}
}

const (
	testThreshold = 20_000
	testSegment   = 48 << 10
)

// open opens the directory if it is not open. Its segments are short, so that there are many.
func (w *world) open() bool {
	if w.s != nil {
		return true
	}
	s, err := dir.Open(w.t.Context(), "/blob", dir.Options{
		FS: yielding{w.fs, &w.flushes}, Log: quiet, SegmentBytes: testSegment, Threshold: testThreshold, ZeroAhead: 4 << 10, MaxOpenFiles: 3,
		Now: func() time.Time { return w.now },
	})
	if err != nil {
		w.errs = append(w.errs, err)
		return false
	}
	w.s = s
	return true
}

func (w *world) close() {
	if w.s != nil {
		w.s.Close()
		w.s = nil
	}
}

// restart cuts the power, unless it was, and opens what is left.
func (w *world) restart(keep memfs.Keep) {
	w.t.Helper()
	w.reopen(w.fs.Restart(keep))
}

// kill ends the process and opens what it did, flushed or not.
func (w *world) kill() {
	w.t.Helper()
	w.reopen(w.fs.Kill())
}

func (w *world) reopen(fresh *memfs.FS) {
	w.t.Helper()
	w.close()
	w.fs = fresh
	if !w.open() {
		w.t.Fatalf("open after restart: %v", w.errs[len(w.errs)-1])
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
	if err == nil {
		if _, ok := w.answered[id]; ok {
			w.t.Errorf("%v was given twice", id)
		}
		w.answered[id] = m
		return
	}
	w.errs = append(w.errs, err)
	if errors.Is(err, blob.ErrFull) {
		w.full[m.Meta.QueueID] = true
	} else {
		w.unknown[m.Meta.QueueID] = m
	}
}

func (w *world) halted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.halt && len(w.errs) > 0
}

func (w *world) commit(n int) {
	if w.halted() {
		return
	}
	if m, d := w.draft(n); d != nil {
		defer d.Discard()
		id, err := d.Commit(w.t.Context(), m.Meta)
		w.note(id, m, err)
	}
}

// draft writes a body; nil where that failed.
func (w *world) draft(n int) (blobtest.Message, blob.Draft) {
	m := w.message(n)
	d, err := w.s.Create(blob.ID{})
	if err != nil {
		w.t.Errorf("Create: %v", err)
		return m, nil
	}
	for part := range slices.Chunk(m.Body, 7000) {
		if _, err := d.Write(part); err != nil {
			// Not committed: whatever the error, nothing may be kept.
			w.mu.Lock()
			w.errs, w.full[m.Meta.QueueID] = append(w.errs, err), true
			w.mu.Unlock()
			d.Discard()
			return m, nil
		}
	}
	return m, d
}

// commitAtOnce commits several drafts at once; most of them go into one batch.
func (w *world) commitAtOnce(sizes ...int) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for _, n := range sizes {
		if w.halted() {
			break
		}
		if m, d := w.draft(n); d != nil {
			wg.Go(func() {
				<-start
				id, err := d.Commit(w.t.Context(), m.Meta)
				w.note(id, m, err)
			})
		}
	}
	close(start)
	wg.Wait()
}

func (w *world) share(parent blob.ID) {
	if w.halted() {
		return
	}
	w.mu.Lock()
	m := blobtest.Message{Meta: w.answered[parent].Meta, Body: w.answered[parent].Body}
	w.mu.Unlock()
	m.Meta.QueueID = w.message(0).Meta.QueueID
	d, err := w.s.Create(parent)
	if err != nil {
		w.errs = append(w.errs, err)
		return
	}
	id, err := d.Commit(w.t.Context(), m.Meta)
	w.note(id, m, err)
}

// last is the answered blob behind all others.
func (w *world) last() (last blob.ID) {
	for id := range w.answered {
		if slices.Compare(id.Bytes(), last.Bytes()) > 0 {
			last = id
		}
	}
	return last
}

// check compares the store with what was answered: all of it is there, byte for byte, in order; and beside it nothing but
// whole messages whose commit failed with the outcome unknown. It returns what a scan found.
func (w *world) check(what string) []blob.ID {
	w.t.Helper()
	var found []blob.ID
	scanned := map[blob.ID]bool{}
	for _, f := range blobtest.ScanAll(w.t, w.s) {
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
		if !f.Written.Equal(w.now) {
			w.t.Errorf("%s: %v was written at %v, want %v", what, f.ID, f.Written, w.now)
		}
		if err := blobtest.Compare(w.t, w.s, f.ID, m); err != nil {
			w.t.Errorf("%s: answered %v: %v", what, ok, err)
		}
	}
	for id := range w.answered {
		if !scanned[id] {
			w.t.Errorf("%s: answered %v is not found: %v", what, id, blobtest.Compare(w.t, w.s, id, w.answered[id]))
		}
	}
	if !slices.IsSortedFunc(found, func(a, b blob.ID) int { return slices.Compare(a.Bytes(), b.Bytes()) }) {
		w.t.Errorf("%s: scan is out of order: %v", what, found)
	}
	return found
}

// checkSwept sweeps, and checks bodies.
func (w *world) checkSwept(what string) {
	w.t.Helper()
	if _, err := w.s.Sweep(w.t.Context()); err != nil {
		w.t.Errorf("%s: Sweep: %v", what, err)
	}
	w.checkBodies(what)
}

// checkBodies looks for bodies that are left without a frame.
func (w *world) checkBodies(what string) {
	w.t.Helper()
	used := 0
	for _, f := range blobtest.ScanAll(w.t, w.s) {
		if f.Size > testThreshold && f.ID.Length < testThreshold && !w.isShared(f) {
			used++
		}
	}
	if bodies := w.bodies(); len(bodies) != used {
		w.t.Errorf("%s: %d bodies apart for %d frames: %v", what, len(bodies), used, bodies)
	}
}

// isShared tells whether an earlier frame has the same body.
func (w *world) isShared(f blob.Scanned) bool {
	for id, m := range w.answered {
		if slices.Compare(id.Bytes(), f.ID.Bytes()) < 0 && len(m.Body) > 0 && &m.Body[0] == &w.body(f)[0] {
			return true
		}
	}
	return false
}

func (w *world) body(f blob.Scanned) []byte {
	if m, ok := w.answered[f.ID]; ok {
		return m.Body
	}
	return w.unknown[f.Meta.QueueID].Body
}

func (w *world) bodies() (all []string) {
	names, err := w.fs.List("/blob")
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	for _, name := range names {
		if strings.Trim(name, "0123456789") != "" {
			continue
		}
		bodies, err := w.fs.List(filepath.Join("/blob", name, "body"))
		if err != nil {
			continue // its making was cut short
		}
		for _, b := range bodies {
			all = append(all, name+"/"+b)
		}
	}
	return all
}

func (w *world) String() string {
	return fmt.Sprintf("%d answered, %d unknown, %d full: %v", len(w.answered), len(w.unknown), len(w.full), w.errs)
}
