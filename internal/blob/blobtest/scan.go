package blobtest

import (
	"errors"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// fill commits n small messages and returns their IDs in order.
func fill(t *testing.T, s blob.Store, n int) ([]blob.ID, map[blob.ID]Message) {
	t.Helper()
	var ids []blob.ID
	want := map[blob.ID]Message{}
	for i := range n {
		m := NewMessage(uint64(i), i*997%9000)
		id := Commit(t, s, m)
		ids = append(ids, id)
		want[id] = m
	}
	return ids, want
}

func testScan(t *testing.T, p Place) {
	s := p.Open(t)
	if got := ScanAll(t, s); len(got) != 0 {
		t.Errorf("Scan of an empty store: %+v", got)
	}
	ids, want := fill(t, s, 50)
	CheckScan(t, s, want)
	closeStore(t, s)

	s = open(t, p)
	CheckScan(t, s, want)
	var got []blob.ID
	for _, f := range ScanAll(t, s) {
		got = append(got, f.ID)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("Scan: order %v, want %v", got, ids)
	}
	more, others := fill(t, s, 3)
	for _, id := range more {
		want[id] = others[id]
	}
	CheckScan(t, s, want)
}

func behind(id blob.ID) blob.Position {
	return blob.Position{Incarnation: id.Incarnation, Segment: id.Segment, Offset: id.Offset + id.Length}
}

func testScanPosition(t *testing.T, p Place) {
	s := open(t, p)
	start := blob.Position{Incarnation: firstIncarnation(t, s)}
	none := func(f blob.Scanned) error { t.Errorf("Scan: %v where nothing is", f.ID); return nil }
	if at, err := s.Scan(t.Context(), start, none); at != start || err != nil {
		t.Errorf("Scan of nothing: %+v, %v", at, err)
	}
	ids, _ := fill(t, s, 20)
	for i, id := range ids {
		var got []blob.ID
		at, err := s.Scan(t.Context(), behind(id), func(f blob.Scanned) error {
			got = append(got, f.ID)
			return nil
		})
		if want := behind(ids[len(ids)-1]); at != want || err != nil {
			t.Errorf("Scan behind %v: at %+v, %v; want %+v", id, at, err, want)
		}
		if !slices.Equal(got, ids[i+1:]) {
			t.Errorf("Scan behind %v: %v, want %v", id, got, ids[i+1:])
		}
	}
	// From where a scan ended the next goes on.
	end := behind(ids[len(ids)-1])
	id := Commit(t, s, NewMessage(99, 99))
	var got []blob.ID
	at, err := s.Scan(t.Context(), end, func(f blob.Scanned) error { got = append(got, f.ID); return nil })
	if at != behind(id) || err != nil || !slices.Equal(got, []blob.ID{id}) {
		t.Errorf("Scan of what was added: %v, at %+v, %v; want %v", got, at, err, id)
	}
}

func firstIncarnation(t *testing.T, s blob.Store) uint64 {
	t.Helper()
	all, err := s.Incarnations(t.Context())
	if err != nil || len(all) == 0 {
		t.Fatalf("Incarnations: %v, %v", all, err)
	}
	return all[0].ID
}

func testScanStop(t *testing.T, p Place) {
	s := open(t, p)
	ids, _ := fill(t, s, 5)
	stop := errors.New("stop")
	n := 0
	at, err := s.Scan(t.Context(), blob.Position{Incarnation: ids[0].Incarnation}, func(blob.Scanned) error {
		if n++; n == 3 {
			return stop
		}
		return nil
	})
	wantErr(t, "Scan", err, stop)
	if at != behind(ids[2]) || n != 3 {
		t.Errorf("Scan: at %+v after %d calls, want %+v after 3", at, n, behind(ids[2]))
	}
}

func testIncarnations(t *testing.T, p Place) {
	var all []uint64
	for round := range 4 {
		s := p.Open(t)
		id := Commit(t, s, NewMessage(uint64(round), 100))
		all = append(all, id.Incarnation)
		got, err := s.Incarnations(t.Context())
		if err != nil || len(got) != len(all) {
			t.Fatalf("Incarnations: %+v, %v; want %v", got, err, all)
		}
		for i, inc := range got {
			if inc.ID != all[i] || inc.Live != (i == round) || inc.Started.IsZero() {
				t.Errorf("Incarnations: %+v at %d of %v", inc, i, all)
			}
		}
		if !slices.IsSorted(all) || slices.Contains(all[:round], id.Incarnation) {
			t.Errorf("incarnations %v do not ascend", all)
		}
		closeStore(t, s)
	}
}

func testDamage(t *testing.T, p Place) {
	if p.Corrupt == nil {
		t.Skip("this place cannot be damaged")
	}
	s := p.Open(t)
	m := NewMessage(1, 200_000)
	var ids []blob.ID
	offsets := []uint32{0, 5, 40, 127, 128 + 100_000, 128 + 199_999, 200_128, 200_140, 200_160}
	for range offsets {
		ids = append(ids, Commit(t, s, m))
	}
	sound := Commit(t, s, m)
	closeStore(t, s)
	for i, at := range offsets {
		p.Corrupt(t, ids[i], at)
	}
	s = open(t, p)
	for i, id := range ids {
		wantErr(t, "octet changed: read", Compare(t, s, id, m), blob.ErrCorrupt)
		f, err := s.Open(t.Context(), id)
		if err != nil {
			continue
		}
		// Blocks that are whole can be read.
		bad := int(offsets[i]-128) / (64 << 10)
		for block := range 4 {
			part := make([]byte, 100)
			_, err := f.Body.ReadAt(part, int64(block)*64<<10+50)
			if block == bad {
				wantErr(t, "octet changed: its block", err, blob.ErrCorrupt)
			} else if err != nil || !bytesAt(m.Body, block*64<<10+50, part) {
				t.Errorf("octet %d changed: block %d: %v", offsets[i], block, err)
			}
		}
		f.Close()
	}
	Check(t, s, sound, m)
}

func bytesAt(b []byte, at int, want []byte) bool { return string(b[at:at+len(want)]) == string(want) }

func testScanDamage(t *testing.T, p Place) {
	if p.Corrupt == nil {
		t.Skip("this place cannot be damaged")
	}
	for _, test := range []struct {
		name  string
		at    func(id blob.ID) uint32
		count int // of frames that the damage hides: with the header lost, the rest of the segment may be
	}{
		{"trailer", func(id blob.ID) uint32 { return id.Length - 30 }, 1},
		{"header", func(id blob.ID) uint32 { return 10 }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := p.Open(t)
			ids, _ := fill(t, s, 9)
			closeStore(t, s)
			p.Corrupt(t, ids[4], test.at(ids[4]))
			s = open(t, p)
			var sound []blob.ID
			damaged := 0
			_, err := s.Scan(t.Context(), blob.Position{Incarnation: ids[0].Incarnation}, func(f blob.Scanned) error {
				switch {
				case f.Err == nil:
					sound = append(sound, f.ID)
				case f.ID.Segment != ids[4].Segment || f.ID.Offset != ids[4].Offset || !errors.Is(f.Err, blob.ErrCorrupt):
					t.Errorf("Scan: damage %+v, want it at %v", f, ids[4])
				default:
					damaged++
				}
				return nil
			})
			if err != nil || damaged != 1 || !slices.Equal(sound[:min(4, len(sound))], ids[:4]) {
				t.Errorf("Scan: %v, then %d damaged, %v; want %v, then 1", sound, damaged, err, ids[:4])
			}
			if test.count == 1 && !slices.Equal(sound[4:], ids[5:]) {
				t.Errorf("Scan: behind the damage %v, want %v", sound[4:], ids[5:])
			}
		})
	}
}
