package mailbox_test

import (
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// TestIDsOfOneMillisecondDiffer makes so many at one time that ids of NewID alone would meet.
func TestIDsOfOneMillisecondDiffer(t *testing.T) {
	const goroutines, each = 8, 5000
	var ids mailbox.IDs
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	made := make([][]uint64, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for range each {
				made[g] = append(made[g], ids.Next(now))
			}
		})
	}
	wg.Wait()
	seen := map[uint64]bool{}
	for g, list := range made {
		for i, id := range list {
			if seen[id] {
				t.Fatalf("id %d was made twice", id)
			}
			seen[id] = true
			if i > 0 && id <= list[i-1] {
				t.Fatalf("goroutine %d: id %d follows %d", g, id, list[i-1])
			}
		}
	}
	if later := ids.Next(now.Add(time.Second)); later <= made[0][each-1] {
		t.Fatalf("id of a second later %d, want above %d", later, made[0][each-1])
	}
}
