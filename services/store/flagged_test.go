package store

import (
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// TestFlaggedLately: changes that lead from one state to another are told together, in whatever order they were heard of; where one
// is missing, nothing is.
func TestFlaggedLately(t *testing.T) {
	var f flaggedLately
	a, b := boxID{1, 10}, boxID{1, 11}
	told := func(from, to mailbox.ModSeq, chunks ...mailbox.UID) *index.FlagsTold {
		r := &index.FlagsTold{Before: from, HighestModSeq: to}
		for _, first := range chunks {
			r.Chunks = append(r.Chunks, mailbox.Packed{FirstUID: first, MaxModSeq: to, Flags: []byte{byte(to)}})
		}
		return r
	}
	f.add(a, told(7, 9, 1, 257))
	f.add(a, told(5, 7, 257, 513))
	f.add(a, told(12, 13, 1))
	f.add(b, told(9, 12, 1))
	f.add(a, told(13, 13))
	f.add(a, nil)
	for _, tt := range []struct {
		name     string
		box      boxID
		from, to mailbox.ModSeq
		want     map[mailbox.UID]mailbox.ModSeq // nil: not known
	}{
		{"one change", a, 7, 9, map[mailbox.UID]mailbox.ModSeq{1: 9, 257: 9}},
		{"two", a, 5, 9, map[mailbox.UID]mailbox.ModSeq{1: 9, 257: 9, 513: 7}},
		{"the first of two", a, 5, 7, map[mailbox.UID]mailbox.ModSeq{257: 7, 513: 7}},
		{"into the middle of one", a, 5, 8, nil},
		{"from the middle of one", a, 6, 9, nil},
		{"over what is missing", a, 7, 13, nil},
		{"that of another mailbox", b, 5, 7, nil},
		{"back", a, 9, 7, nil},
		{"none", a, 9, 9, nil},
	} {
		chunks, known := f.between(tt.box, tt.from, tt.to)
		if known != (tt.want != nil) || len(chunks) != len(tt.want) {
			t.Errorf("%s: %v, %v; want %v", tt.name, chunks, known, tt.want)
			continue
		}
		var before mailbox.UID
		for _, c := range chunks {
			if c.FirstUID <= before || c.MaxModSeq != tt.want[c.FirstUID] {
				t.Errorf("%s: chunk %d of %d behind %d", tt.name, c.FirstUID, c.MaxModSeq, before)
			}
			before = c.FirstUID
		}
	}
	// What is told anew of a step takes its place.
	f.add(a, told(7, 11, 1))
	if _, known := f.between(a, 7, 9); known {
		t.Error("a step of a lost history is known")
	}
	if _, known := f.between(a, 5, 11); !known {
		t.Error("the new one is not")
	}
}

// TestFlaggedLatelyIsBounded: the oldest changes go first, and a way of too many is not told.
func TestFlaggedLatelyIsBounded(t *testing.T) {
	var f flaggedLately
	box := boxID{1, 10}
	for i := range mailbox.ModSeq(100) {
		f.add(box, &index.FlagsTold{Before: i, HighestModSeq: i + 1, Chunks: []mailbox.Packed{{FirstUID: 1, Flags: make([]byte, flaggedMax/90)}}})
	}
	if f.octets > flaggedMax || len(f.steps) != f.order.Len() || len(f.steps) < 80 {
		t.Errorf("%d octets of %d and %d changes", f.octets, len(f.steps), f.order.Len())
	}
	for from, want := range map[mailbox.ModSeq]bool{0: false, 100 - flaggedSpan - 1: false, 100 - flaggedSpan: true, 99: true} {
		if _, known := f.between(box, from, 100); known != want {
			t.Errorf("from %d: known %v", from, known)
		}
	}
}
