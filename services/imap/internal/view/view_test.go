package view

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// pack makes a snapshot of entries, in chunks of a few UIDs.
func pack(t testing.TB, modSeq mailbox.ModSeq, entries []mailbox.Entry, share *Snapshot) *Snapshot {
	t.Helper()
	const span = 7
	var chunks []*Chunk
	var cols Columns
	for i := 0; i < len(entries); {
		var c mailbox.Chunk
		first := (entries[i].UID-1)/span*span + 1
		c.FirstUID = first
		for ; i < len(entries) && entries[i].UID < first+span; i++ {
			c.Add(entries[i])
		}
		chunk, err := newChunk(c.Pack(), &cols)
		if err != nil {
			t.Fatal(err)
		}
		// Chunks that did not change are shared, as the cache does.
		if share != nil {
			for _, old := range share.chunks {
				if old.first == first && !old.ghosts && slices.Equal(old.packed.UIDs, chunk.packed.UIDs) &&
					slices.Equal(old.packed.Flags, chunk.packed.Flags) && slices.Equal(old.packed.ModSeqs, chunk.packed.ModSeqs) {
					chunk = old
				}
			}
		}
		chunks = append(chunks, chunk)
	}
	return newSnapshot(Meta{UIDValidity: 1, HighestModSeq: modSeq}, chunks)
}

func uidsOf(s *Snapshot) []mailbox.UID { return s.UIDList(s.All()) }

// TestAdvance plays random changes to a view and believes what it tells, with and without ghosts.
func TestAdvance(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var entries []mailbox.Entry
		next, modSeq := mailbox.UID(1), mailbox.ModSeq(1)
		add := func(n int) {
			for range n {
				next += mailbox.UID(rnd.IntN(3))
				entries = append(entries, mailbox.Entry{UID: next, ModSeq: modSeq, Email: mailbox.EmailID(next), Size: int64(next)})
				next++
			}
		}
		add(rnd.IntN(40))
		shared := pack(t, modSeq, entries, nil)
		view := shared
		told := uidsOf(view) // what the client believes
		flags := map[mailbox.UID]mailbox.Flags{}
		for step := range 30 {
			modSeq++
			switch rnd.IntN(3) {
			case 0:
				add(1 + rnd.IntN(10))
			case 1:
				for range rnd.IntN(10) {
					if len(entries) > 0 {
						k := rnd.IntN(len(entries))
						entries = slices.Delete(entries, k, min(len(entries), k+1+rnd.IntN(4)))
					}
				}
			case 2:
				for range rnd.IntN(10) {
					if len(entries) > 0 {
						e := &entries[rnd.IntN(len(entries))]
						e.Flags, e.ModSeq = mailbox.Flags(rnd.IntN(32)), modSeq
					}
				}
			}
			shared = pack(t, modSeq, entries, shared)
			keep := rnd.IntN(2) == 0
			before := view.Len()
			after, d, err := view.Advance(shared, keep, nil)
			if err != nil {
				t.Fatal(err)
			}
			if keep && len(d.Expunged) > 0 {
				t.Fatalf("seed %d step %d: expunged %v although numbers were to stay", seed, step, d.Expunged)
			}
			for i := len(d.Expunged) - 1; i >= 0; i-- {
				told = slices.Delete(told, int(d.Expunged[i].First)-1, int(d.Expunged[i].Last))
			}
			if n := before - uint32(d.Expunged.Count()); d.Grown != (after.Len() > n) {
				t.Fatalf("seed %d step %d: grown %v from %d to %d", seed, step, d.Grown, n, after.Len())
			}
			got := uidsOf(after)
			told = append(told, got[len(told):]...)
			if !slices.Equal(told, got) {
				t.Fatalf("seed %d step %d: told %v, is %v", seed, step, told, got)
			}
			after.Walk(d.Changed, WantUID|WantFlags, func(_ uint32, cols *Columns, lo, hi int) error {
				for i := lo; i < hi; i++ {
					flags[cols.UIDs[i]] = cols.Flags[i]
				}
				return nil
			})
			after.Walk(after.All(), WantUID|WantFlags, func(_ uint32, cols *Columns, lo, hi int) error {
				for i := lo; i < hi; i++ {
					if _, known := flags[cols.UIDs[i]]; !known {
						flags[cols.UIDs[i]] = cols.Flags[i] // as FETCH would
					} else if flags[cols.UIDs[i]] != cols.Flags[i] {
						t.Fatalf("seed %d step %d: UID %d was told %b, is %b", seed, step, cols.UIDs[i], flags[cols.UIDs[i]], cols.Flags[i])
					}
				}
				return nil
			})
			if !keep && after != shared {
				t.Fatalf("seed %d step %d: an up-to-date view is not the shared one", seed, step)
			}
			view = after
			lookups(t, view, rnd)
		}
	}
}

// lookups compares the ways to find an entry with a walk through all.
func lookups(t *testing.T, s *Snapshot, rnd *rand.Rand) {
	t.Helper()
	uids := uidsOf(s)
	var down []mailbox.UID
	s.WalkDown(s.All(), WantUID, func(seq uint32, cols *Columns, lo, hi int) error {
		if uint32(len(uids)-len(down)) != seq || hi != lo+1 {
			t.Fatalf("way down: number %d at %d to %d behind %d entries of %d", seq, lo, hi, len(down), len(uids))
		}
		down = append(down, cols.UIDs[lo])
		return nil
	})
	if slices.Reverse(down); !slices.Equal(down, uids) {
		t.Fatalf("way down %v, want %v from the end", down, uids)
	}
	for i, uid := range uids {
		if got := s.UID(uint32(i + 1)); got != uid {
			t.Fatalf("number %d is UID %d, want %d", i+1, got, uid)
		}
		if got := s.Rank(uid); got != uint32(i) {
			t.Fatalf("UID %d has rank %d, want %d", uid, got, i)
		}
	}
	var set wire.Set
	for range rnd.IntN(5) {
		a := 1 + rnd.Uint32N(100)
		set = append(set, wire.Range{First: a, Last: a + rnd.Uint32N(20)})
	}
	if rnd.IntN(3) == 0 {
		set = append(set, wire.Range{First: 5, Last: 1<<32 - 1})
	}
	set = set.Resolve(uint32(s.MaxUID()))
	var want wire.Set
	for i, uid := range uids {
		if set.Contains(uint32(uid)) {
			want = want.Add(uint32(i + 1))
		}
	}
	if got := s.Seqs(set); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("UIDs %v are numbers %v, want %v (of %v)", set, got, want, uids)
	}
	back := s.UIDs(want)
	for _, uid := range uids {
		if back.Contains(uint32(uid)) != set.Contains(uint32(uid)) {
			t.Fatalf("numbers %v are UIDs %v", want, back)
		}
	}
}

// TestChanged: a chunk of which only flags and MODSEQs changed keeps the memory of its other columns; any other state of it is
// taken whole, and what is damaged is refused. Either way it tells what was sent, and which flags all entries have.
func TestChanged(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var cols Columns
	entries := func() *mailbox.Chunk {
		c := &mailbox.Chunk{FirstUID: 10}
		for i := range 20 {
			c.Add(mailbox.Entry{UID: mailbox.UID(10 + i), Email: mailbox.EmailID(i * 7), Size: int64(100 + i), Received: int64(i), ModSeq: 5,
				Flags: mailbox.Seen | mailbox.Flags(rnd.IntN(4))<<mailbox.KeywordShift})
		}
		return c
	}
	for _, tt := range []struct {
		name   string
		change func(*mailbox.Chunk)
		shared bool
	}{
		{"flags", func(c *mailbox.Chunk) { c.Flags[3], c.ModSeqs[3] = mailbox.Seen|mailbox.Flagged, 9 }, true},
		{"nothing is common any more", func(c *mailbox.Chunk) { c.Flags[7], c.ModSeqs[7] = 0, 9 }, true},
		{"a new entry", func(c *mailbox.Chunk) { c.Add(mailbox.Entry{UID: 40, ModSeq: 9}) }, false},
		{"an entry gone", func(c *mailbox.Chunk) { c.Keep(func(i int) bool { return i != 4 }) }, false},
		{"another size", func(c *mailbox.Chunk) { c.Sizes[2]++ }, false},
	} {
		before := entries()
		old, err := newChunk(before.Pack(), &cols)
		if err != nil {
			t.Fatal(err)
		}
		tt.change(before)
		packed := before.Pack()
		got, err := old.changed(packed, &cols)
		if err != nil {
			t.Fatal(err)
		}
		want, err := newChunk(packed, &cols)
		if err != nil || fmt.Sprint(*got) != fmt.Sprint(*want) {
			t.Errorf("%s: got %v, want %v (%v)", tt.name, *got, *want, err)
		}
		if shared := &got.packed.Emails[0] == &old.packed.Emails[0]; shared != tt.shared {
			t.Errorf("%s: columns shared: %v, want %v", tt.name, shared, tt.shared)
		}
		packed.Flags = packed.Flags[:1]
		if _, err := old.changed(packed, &cols); err == nil {
			t.Errorf("%s: damaged flags were taken", tt.name)
		}
	}
	var none *Snapshot
	if none.named(10) != nil {
		t.Error("no snapshot has a chunk")
	}
}

// TestFirstWithout: the first entry that lacks a flag is found behind chunks that all have it.
func TestFirstWithout(t *testing.T) {
	var entries []mailbox.Entry
	for i := range 50 {
		entries = append(entries, mailbox.Entry{UID: mailbox.UID(i + 1), Flags: mailbox.Seen, ModSeq: 1})
	}
	for _, unseen := range []int{0, 6, 7, 31, 49} {
		entries[unseen].Flags = mailbox.Flagged
		if got := pack(t, 1, entries, nil).FirstWithout(mailbox.Seen); got != uint32(unseen+1) {
			t.Errorf("unseen is %d: got %d", unseen+1, got)
		}
		entries[unseen].Flags = mailbox.Seen
	}
	if got := pack(t, 1, entries, nil).FirstWithout(mailbox.Seen); got != 0 {
		t.Errorf("all seen: got %d", got)
	}
}

// TestKeywordsFull: a mailbox is full of keywords while each of them is on some entry.
func TestKeywordsFull(t *testing.T) {
	var entries []mailbox.Entry
	for i := range mailbox.MaxKeywords {
		entries = append(entries, mailbox.Entry{UID: mailbox.UID(i + 1), Flags: mailbox.Seen | mailbox.KeywordFlag(i), ModSeq: 1})
	}
	s := pack(t, 1, entries, nil)
	if s.KeywordsFull() {
		t.Error("full without names")
	}
	s.Keywords = make([]string, mailbox.MaxKeywords)
	if !s.KeywordsFull() {
		t.Error("not full with all of them")
	}
	for _, i := range []int{0, 17, mailbox.MaxKeywords - 1} {
		entries[i].Flags = mailbox.Seen
		s := pack(t, 1, entries, nil)
		s.Keywords = make([]string, mailbox.MaxKeywords)
		if s.KeywordsFull() {
			t.Errorf("full without keyword %d", i)
		}
		entries[i].Flags |= mailbox.KeywordFlag(i)
	}
}

// TestInconsistent: a UID below known ones cannot be told.
func TestInconsistent(t *testing.T) {
	e := func(uid mailbox.UID) mailbox.Entry { return mailbox.Entry{UID: uid, ModSeq: 1} }
	for _, to := range [][]mailbox.Entry{{e(1), e(3), e(5)}, {e(2), e(3), e(5)}} {
		a := pack(t, 1, []mailbox.Entry{e(1), e(5)}, nil)
		if _, _, err := a.Advance(pack(t, 2, to, nil), false, nil); err != ErrInconsistent {
			t.Errorf("got %v", err)
		}
	}
}

func BenchmarkWalk(b *testing.B) {
	var entries []mailbox.Entry
	for i := range 100_000 {
		entries = append(entries, mailbox.Entry{UID: mailbox.UID(i + 1), ModSeq: 5, Email: mailbox.EmailID(i * 4_194_303), Size: 4096, Received: int64(i)})
	}
	var chunks []*Chunk
	var cols Columns
	for part := range slices.Chunk(entries, mailbox.ChunkSize) {
		c := mailbox.Chunk{FirstUID: part[0].UID}
		for _, e := range part {
			c.Add(e)
		}
		chunk, err := newChunk(c.Pack(), &cols)
		if err != nil {
			b.Fatal(err)
		}
		chunks = append(chunks, chunk)
	}
	s := newSnapshot(Meta{}, chunks)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		s.Walk(s.All(), WantUID|WantFlags, func(_ uint32, cols *Columns, lo, hi int) error {
			n += hi - lo
			return nil
		})
		if n != len(entries) {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(entries)), "ns/message")
}
