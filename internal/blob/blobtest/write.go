package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/envelope"
)

func testCommit(t *testing.T, p Place) {
	s := open(t, p)
	m := NewMessage(1, 4096)
	id := Commit(t, s, m)
	if id.IsZero() || id.Incarnation == 0 || id.Length < 4096 {
		t.Errorf("Commit: id %v", id)
	}
	Check(t, s, id, m)
	back, err := blob.IDFrom(id.Bytes())
	if back != id || err != nil {
		t.Errorf("IDFrom(%v.Bytes()): %v, %v", id, back, err)
	}
}

// sizes are at the edges: of blocks, of what is read by one call, of the threshold and of buffers.
var sizes = []int{
	0, 1, 2, 100, 4096, 8063, 8064, 8065, 60_000, 64<<10 - 200, 64<<10 - 1, 64 << 10, 64<<10 + 1, 128 << 10, 200_000,
	blob.SpoolMemory - 1, blob.SpoolMemory, blob.SpoolMemory + 1, blob.SpoolMemory + 64<<10, 2 * blob.SpoolMemory,
	2*blob.SpoolMemory + 1, 3_000_000,
}

func testSizes(t *testing.T, p Place) {
	s := p.Open(t)
	want := map[blob.ID]Message{}
	for i, size := range sizes {
		m := NewMessage(uint64(i), size)
		d, err := s.Create(blob.ID{})
		if err != nil {
			t.Fatal(err)
		}
		// In pieces of many lengths, as they come from a connection.
		for rest, n := m.Body, 1; len(rest) > 0; n = n*3 + i {
			n = min(n, len(rest))
			if _, err := d.Write(rest[:n]); err != nil {
				t.Fatalf("Write: %v", err)
			}
			rest = rest[n:]
		}
		if d.Size() != int64(size) {
			t.Errorf("Size: %d, want %d", d.Size(), size)
		}
		id, err := d.Commit(t.Context(), m.Meta)
		if err != nil {
			t.Fatalf("Commit of %d octets: %v", size, err)
		}
		want[id] = m
		Check(t, s, id, m)
	}
	closeStore(t, s)
	s = open(t, p)
	for id, m := range want {
		Check(t, s, id, m)
	}
	CheckScan(t, s, want)
}

func testDraftReadAt(t *testing.T, p Place) {
	s := open(t, p)
	for _, size := range []int{1000, blob.SpoolMemory, 5*blob.SpoolMemory + 77} {
		body := Octets(uint64(size), size)
		d, err := s.Create(blob.ID{})
		if err != nil {
			t.Fatal(err)
		}
		for part := range 4 {
			d.Write(body[part*size/4 : (part+1)*size/4])
			written := (part + 1) * size / 4
			for _, r := range ranges(written) {
				checkRange(t, fmt.Sprintf("draft of %d octets", written), d, body[:written], r)
			}
		}
		d.Discard()
	}
}

func testDraftOver(t *testing.T, p Place) {
	s := open(t, p)
	for _, size := range []int{100, 2 * blob.SpoolMemory} {
		m := NewMessage(1, size)
		d, err := s.Create(blob.ID{})
		if err != nil {
			t.Fatal(err)
		}
		d.Write(m.Body)
		id, err := d.Commit(t.Context(), m.Meta)
		if err != nil {
			t.Fatal(err)
		}
		d.Discard()
		d.Discard()
		if _, err := d.Commit(t.Context(), m.Meta); err == nil {
			t.Errorf("second Commit: no error")
		}
		if _, err := d.Write([]byte("x")); err == nil {
			t.Errorf("Write behind Commit: no error")
		}
		Check(t, s, id, m)

		if d, err = s.Create(blob.ID{}); err != nil {
			t.Fatal(err)
		}
		d.Write(m.Body)
		d.Discard()
		if _, err := d.Commit(t.Context(), m.Meta); err == nil {
			t.Errorf("Commit behind Discard: no error")
		}
		if _, err := d.ReadAt(make([]byte, 1), 0); err == nil || err == io.EOF {
			t.Errorf("ReadAt behind Discard: %v", err)
		}
	}
	if got := len(ScanAll(t, s)); got != 2 {
		t.Errorf("Scan: %d frames, want 2", got)
	}
}

func testTooLarge(t *testing.T, p Place) {
	s := open(t, p)
	d, err := s.Create(blob.ID{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Commit(t.Context(), blob.Meta{Kind: blob.Accepted, Tail: make([]byte, frame.MaxTail+1)})
	wantErr(t, "Commit with too long a tail", err, blob.ErrTooLarge)

	m := Message{Meta: blob.Meta{Kind: blob.Accepted, Tail: Octets(7, frame.MaxTail)}, Body: Octets(8, 5000)}
	Check(t, s, Commit(t, s, m), m)
	if got := len(ScanAll(t, s)); got != 1 {
		t.Errorf("Scan: %d frames, want 1", got)
	}
}

func testMeta(t *testing.T, p Place) {
	s := open(t, p)
	want := map[blob.ID]Message{}
	for _, meta := range []blob.Meta{
		{Kind: blob.Accepted, QueueID: envelope.NewQueueID(timeOfTests), Tail: []byte("tail")},
		{Kind: blob.Appended},
		{Kind: blob.Appended, Tail: []byte{}},
		{Kind: blob.Generated, QueueID: envelope.NewQueueID(timeOfTests), Tail: Octets(1, 100_000)},
	} {
		m := Message{Meta: meta, Body: []byte("Subject: x\r\n\r\n")}
		id := Commit(t, s, m)
		want[id] = m
		Check(t, s, id, m)
	}
	CheckScan(t, s, want)
	for _, kind := range []blob.Kind{0, 4} {
		d, err := s.Create(blob.ID{})
		if err != nil {
			t.Fatal(err)
		}
		if id, err := d.Commit(t.Context(), blob.Meta{Kind: kind}); err == nil {
			t.Errorf("Commit of kind %d: %v, want an error", kind, id)
		}
	}
	// What is returned is the caller's to keep.
	for id, m := range want {
		f, err := s.Open(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		tail := f.Meta.Tail
		f.Close()
		for range 20 {
			Check(t, s, Commit(t, s, NewMessage(9, len(m.Body))), NewMessage(9, len(m.Body)))
		}
		if !bytes.Equal(tail, m.Meta.Tail) {
			t.Errorf("tail of %v changed behind Close", id)
		}
	}
}

func testConcurrent(t *testing.T, p Place) {
	s := p.Open(t)
	const writers, each = 16, 12
	var mu sync.Mutex
	want := map[blob.ID]Message{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			var last blob.ID
			for i := range each {
				size := (w*each + i) * 313 % 20_000
				if i == 5 && w < 3 {
					size = blob.SpoolMemory + 1 + w
				}
				m := NewMessage(uint64(w*each+i), size)
				id := Commit(t, s, m)
				// What is answered later lies behind.
				if !last.IsZero() && !before(last, id) {
					t.Errorf("committed at %v, then at %v", last, id)
				}
				last = id
				Check(t, s, id, m)
				mu.Lock()
				want[id] = m
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(want) != writers*each {
		t.Errorf("%d ids, want %d", len(want), writers*each)
	}
	CheckScan(t, s, want)
	closeStore(t, s)
	s = open(t, p)
	CheckScan(t, s, want)
	for id, m := range want {
		Check(t, s, id, m)
	}
}

func before(a, b blob.ID) bool { return bytes.Compare(a.Bytes(), b.Bytes()) < 0 }

func testContext(t *testing.T, p Place) {
	s := open(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, size := range []int{100, 2 * blob.SpoolMemory} {
		d, err := s.Create(blob.ID{})
		if err != nil {
			t.Fatal(err)
		}
		d.Write(Octets(1, size))
		_, err = d.Commit(ctx, blob.Meta{Kind: blob.Accepted})
		wantErr(t, "Commit", err, context.Canceled)
		if errors.Is(err, blob.ErrFull) {
			t.Errorf("Commit: %v", err)
		}
	}
	id := Commit(t, s, NewMessage(1, 10))
	_, err := s.Open(ctx, id)
	wantErr(t, "Open", err, context.Canceled)
	_, err = s.Scan(ctx, blob.Position{Incarnation: id.Incarnation}, func(blob.Scanned) error { return nil })
	wantErr(t, "Scan", err, context.Canceled)
	Check(t, s, id, NewMessage(1, 10))
}
