package slack

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// TestDue: slack is given back by who is quiet and has much, and not again too soon.
func TestDue(t *testing.T) {
	const mib = 1 << 20
	start := time.Unix(1000, 0)
	for _, tt := range []struct {
		name      string
		allocated uint64 // since the look before
		live      uint64
		held      uint64
		after     time.Duration // since slack was given back, which took 100 ms
		want      bool
	}{
		{"quiet, much slack", mib, 100 * mib, 200 * mib, time.Hour, true},
		{"quiet, little slack", mib, 100 * mib, 130 * mib, time.Hour, false},
		{"quiet, a small process", mib, 4 * mib, 12 * mib, time.Hour, false},
		{"quiet, a small process that holds much", mib, 4 * mib, 40 * mib, time.Hour, true},
		{"busy", 20 * mib, 100 * mib, 200 * mib, time.Hour, false},
		{"as busy, but large", 20 * mib, 1000 * mib, 2000 * mib, time.Hour, true},
		{"too soon", mib, 100 * mib, 200 * mib, 9 * time.Second, false},
		{"soon enough", mib, 100 * mib, 200 * mib, 10 * time.Second, true},
	} {
		var k keeper
		k.gave(start, 100*time.Millisecond)
		now := start.Add(tt.after)
		if k.due(memory{allocated: mib, live: tt.live, held: 1 << 40}, now) {
			t.Errorf("%s: due at the first look, which cannot tell whether the process is quiet", tt.name)
		}
		if got := k.due(memory{allocated: mib + tt.allocated, live: tt.live, held: tt.held}, now); got != tt.want {
			t.Errorf("%s: due is %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestPercent: a small process may have some garbage, a large one as much as it has in use.
func TestPercent(t *testing.T) {
	const mib = 1 << 20
	for live, want := range map[uint64]int{0: 300, 4 * mib: 300, 32 * mib: 200, 40 * mib: 160, 64 * mib: 100, 4096 * mib: 100} {
		if got := percent(live); got != want {
			t.Errorf("%d octets in use: %d %%, want %d", live, got, want)
		}
	}
}

var sink [][]byte

// TestRead: what is read tells of garbage, and that it was given back.
func TestRead(t *testing.T) {
	const octets = 64 << 20
	s := newSamples()
	runtime.GC()
	before := s.read()
	for range octets >> 16 {
		sink = append(sink, make([]byte, 1<<16))
	}
	runtime.GC()
	full := s.read()
	if full.allocated < before.allocated+octets || full.live < before.live+octets || full.held < full.live {
		t.Errorf("before %+v, with %d octets more %+v", before, octets, full)
	}
	sink = nil
	var k keeper
	k.due(s.read(), time.Now())
	runtime.GC()
	if m := s.read(); !k.due(m, time.Now()) {
		t.Errorf("nothing is due with %+v", m)
	}
	debug.FreeOSMemory()
	if m := s.read(); m.held > full.held-octets/2 || k.due(m, time.Now()) {
		t.Errorf("full %+v, after giving back %+v", full, m)
	}
}
