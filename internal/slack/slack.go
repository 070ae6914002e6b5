// Package slack decides how much memory a process holds that it does not need: some, so that a small one that works does not
// collect garbage all the time, and next to none once it has little to do.
//
// The collector lets garbage grow to as much as there is in use before it looks, and keeps what it found for the next burst. A
// process that holds thousands of idle connections opened them with much garbage and then needs none of that for hours.
package slack

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// every is how often the process is looked at.
	every = 2 * time.Second
	// busyOctets and an eighth of what is in use is what a process allocates within every at most while it counts as quiet.
	busyOctets = 4 << 20
	// leastSlack and a quarter of what is in use is the least that is worth a collection.
	leastSlack = 8 << 20
	// share is how many times as long as the last collection took none is asked for: they take a hundredth of the time at most.
	share = 100
	// leastGarbage is how many octets a process that works may allocate from one collection to the next, however little it has in
	// use, and mostPercent the most by what it has in use: it may grow within every.
	leastGarbage = 64 << 20
	mostPercent  = 300
)

// percent is how much garbage there may be before it is collected, by what is in use.
func percent(live uint64) int {
	return int(max(100, min(mostPercent, leastGarbage*100/max(live, 1))))
}

// memory is how a process stands, octets.
type memory struct {
	allocated uint64 // ever
	live      uint64 // in use, when the collector looked last
	held      uint64 // by the process, of the heap: objects with their garbage, and what is free
}

// keeper decides when to give back.
type keeper struct {
	last   memory
	known  bool
	notYet time.Time
}

// due tells whether slack is to be given back now.
func (k *keeper) due(m memory, now time.Time) bool {
	busy := !k.known || m.allocated-k.last.allocated > busyOctets+m.live/8
	k.last, k.known = m, true
	return !busy && !now.Before(k.notYet) && m.held > m.live+m.live/4+leastSlack
}

// gave notes that slack was given back, which took so long.
func (k *keeper) gave(now time.Time, took time.Duration) { k.notYet = now.Add(share * took) }

// Run gives back until ctx ends. It leaves alone what GOGC says, where that is set.
func Run(ctx context.Context) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var k keeper
	samples := newSamples()
	_, told := os.LookupEnv("GOGC")
	for set := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		m := samples.read()
		if want := percent(m.live); !told && max(want-set, set-want) >= 10 {
			debug.SetGCPercent(want)
			set = want
		}
		if now := time.Now(); k.due(m, now) {
			debug.FreeOSMemory()
			k.gave(time.Now(), time.Since(now))
		}
	}
}

// samples are what memory is read from.
type samples []metrics.Sample

func newSamples() samples {
	return samples{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
		// Without the gaps between objects, which no collection gives back.
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
	}
}

func (s samples) read() memory {
	metrics.Read(s)
	return memory{allocated: s[0].Value.Uint64(), live: s[1].Value.Uint64(), held: s[2].Value.Uint64() + s[3].Value.Uint64()}
}
