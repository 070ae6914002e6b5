package blobtest

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
)

var timeOfTests = time.Date(2000, 1, 2, 3, 4, 5, 0, time.UTC)

type span struct{ off, n int }

// ranges are at the edges of a body and of its blocks.
func ranges(size int) []span {
	const block = 64 << 10
	all := []span{{0, 0}, {0, 1}, {0, size}, {0, size + 10}, {size, 1}, {size + 5, 1}, {size / 2, size}, {size / 3, size / 3}}
	for at := block; at <= size+block; at += block {
		all = append(all, span{at - 1, 2}, span{at, 10}, span{at - block, block}, span{at - block, 2 * block}, span{at - 10, block + 20})
	}
	return all
}

func checkRange(t *testing.T, what string, r io.ReaderAt, body []byte, at span) {
	t.Helper()
	if at.n == 0 {
		return
	}
	got := make([]byte, at.n)
	n, err := r.ReadAt(got, int64(at.off))
	want := body[min(at.off, len(body)):min(at.off+at.n, len(body))]
	if !bytes.Equal(got[:n], want) {
		t.Errorf("%s: ReadAt(%d octets, %d): %d octets, differs at %d; want %d", what, at.n, at.off, n, differsAt(got[:n], want), len(want))
	}
	if n < at.n && err != io.EOF || n == at.n && err != nil && err != io.EOF {
		t.Errorf("%s: ReadAt(%d octets, %d): %d octets, %v", what, at.n, at.off, n, err)
	}
}

func testRanges(t *testing.T, p Place) {
	s := open(t, p)
	for i, size := range []int{0, 1, 4096, 64 << 10, 64<<10 + 1, 200_000, blob.SpoolMemory, 3*blob.SpoolMemory + 5} {
		m := NewMessage(uint64(i), size)
		f, err := s.Open(t.Context(), Commit(t, s, m))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range ranges(size) {
			checkRange(t, fmt.Sprintf("body of %d octets", size), f.Body, m.Body, r)
		}
		if _, err := f.Body.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
			t.Errorf("ReadAt(-1): %v", err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for _, r := range ranges(size) {
					checkRange(t, fmt.Sprintf("body of %d octets, at once", size), f.Body, m.Body, r)
				}
			})
		}
		wg.Wait()
		f.Close()
		if _, err := f.Body.ReadAt(make([]byte, 1), 0); err == nil || err == io.EOF {
			t.Errorf("ReadAt behind Close: %v", err)
		}
	}
}

func testUnknown(t *testing.T, p Place) {
	s := open(t, p)
	id := Commit(t, s, NewMessage(1, 1000))
	unknown := []blob.ID{{}, id, id, id, id, id}
	unknown[1].Incarnation += 5
	unknown[2].Segment++
	unknown[3].Offset += id.Length
	unknown[4].Length--
	unknown[5].Offset, unknown[5].Length = 1<<32-1, 1<<32-1
	for _, id := range unknown {
		_, err := s.Open(t.Context(), id)
		wantErr(t, fmt.Sprintf("Open(%v)", id), err, blob.ErrNotFound)
	}
	_, err := s.Create(unknown[2])
	wantErr(t, "Create with an unknown body", err, blob.ErrNotFound)
	_, err = s.Scan(t.Context(), blob.Position{Incarnation: id.Incarnation + 5}, func(blob.Scanned) error { return nil })
	wantErr(t, "Scan of an unknown incarnation", err, blob.ErrNotFound)
}

func testShared(t *testing.T, p Place) {
	s := p.Open(t)
	want := map[blob.ID]Message{}
	children := map[blob.ID]Message{}
	for i, size := range []int{0, 4096, 200_000, 2*blob.SpoolMemory + 1} {
		m := NewMessage(uint64(i), size)
		parent := Commit(t, s, m)
		want[parent] = m
		child := Message{Meta: NewMessage(uint64(100+i), 0).Meta, Body: m.Body}
		child.Meta.Kind = blob.Generated
		id := CommitShared(t, s, parent, child.Meta)
		want[id], children[id] = child, child
		Check(t, s, id, child)
		if uint64(id.Length) > 1000 {
			t.Errorf("shared frame %v of a body of %d octets holds %d", id, size, id.Length)
		}
	}
	for id, m := range children {
		d, err := s.Create(id)
		if err != nil {
			t.Fatal(err)
		}
		if d.Size() != int64(len(m.Body)) {
			t.Errorf("shared draft: size %d, want %d", d.Size(), len(m.Body))
		}
		for _, r := range ranges(len(m.Body)) {
			checkRange(t, "shared draft", d, m.Body, r)
		}
		if n, err := d.Write([]byte("x")); n != 0 || err == nil {
			t.Errorf("Write to a shared draft: %d, %v", n, err)
		}
		grandchild := Message{Meta: m.Meta, Body: m.Body}
		grandchild.Meta.Tail = []byte("grandchild")
		gid, err := d.Commit(t.Context(), grandchild.Meta)
		if err != nil {
			t.Fatal(err)
		}
		want[gid] = grandchild
	}
	closeStore(t, s)
	s = open(t, p)
	for id, m := range want {
		Check(t, s, id, m)
	}
	CheckScan(t, s, want)
	// A body of a dead incarnation.
	for id, m := range children {
		Check(t, s, CommitShared(t, s, id, m.Meta), m)
	}
	d, err := s.Create(firstOf(children))
	if err != nil {
		t.Fatal(err)
	}
	d.Discard()
}

func firstOf(m map[blob.ID]Message) blob.ID {
	for id := range m {
		return id
	}
	return blob.ID{}
}

func testClose(t *testing.T, p Place) {
	s := p.Open(t)
	m := NewMessage(1, 100)
	id := Commit(t, s, m)
	small, err := s.Create(blob.ID{})
	if err != nil {
		t.Fatal(err)
	}
	small.Write(m.Body)
	large, err := s.Create(blob.ID{})
	if err != nil {
		t.Fatal(err)
	}
	large.Write(Octets(2, 2*blob.SpoolMemory))
	closeStore(t, s)
	closeStore(t, s)
	_, err = small.Commit(t.Context(), m.Meta)
	wantErr(t, "Commit behind Close", err, blob.ErrClosed)
	_, err = large.Commit(t.Context(), m.Meta)
	wantErr(t, "Commit of a large body behind Close", err, blob.ErrClosed)
	_, err = s.Create(blob.ID{})
	wantErr(t, "Create behind Close", err, blob.ErrClosed)
	_, err = s.Open(t.Context(), id)
	wantErr(t, "Open behind Close", err, blob.ErrClosed)

	s = open(t, p)
	CheckScan(t, s, map[blob.ID]Message{id: m})
}

func testOpenOverClose(t *testing.T, p Place) {
	s := p.Open(t)
	for i, size := range []int{4096, 200_000, 2 * blob.SpoolMemory} {
		m := NewMessage(uint64(i), size)
		f, err := s.Open(t.Context(), Commit(t, s, m))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			checkRange(t, "frame of a closed store", f.Body, m.Body, span{0, size})
			f.Close()
		}()
	}
	closeStore(t, s)
}
