package bustest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/bus"
)

// copyOf is what a watcher knows of a bucket.
type copyOf struct {
	mu     sync.Mutex
	values map[string]string // guarded by mu
	loads  int               // guarded by mu
	ended  error             // guarded by mu: of the last watch
}

// watchBucket watches until the test ends, again whenever a watch ends.
func watchBucket(t *testing.T, b *bus.Bucket) *copyOf {
	t.Helper()
	x := &copyOf{values: map[string]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			err := b.Watch(ctx, func(e bus.BucketEntry) {
				x.mu.Lock()
				defer x.mu.Unlock()
				if x.values[e.Key] = string(e.Value); e.Value == nil {
					delete(x.values, e.Key)
				}
			}, func() {
				x.mu.Lock()
				defer x.mu.Unlock()
				x.loads++
			})
			x.mu.Lock()
			x.ended = err
			x.mu.Unlock()
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return x
}

func (x *copyOf) get(key string) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.values[key]
}

// loaded tells how often all was read, and how the last watch ended.
func (x *copyOf) loaded() (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.loads, x.ended
}

func put(t *testing.T, b *bus.Bucket, key, value string, revision uint64) uint64 {
	t.Helper()
	next, err := b.Put(t.Context(), key, []byte(value), revision)
	if err != nil {
		t.Fatalf("put %s=%s over %d: %v", key, value, revision, err)
	}
	return next
}

func bucketWatched(t *testing.T, s Server) {
	a, b := Connect(t, s).Bucket("test"), Connect(t, s).Bucket("test")
	first := put(t, a, "k", "one", 0)
	x := watchBucket(t, b)
	WaitFor(t, "what was there", func() bool { n, _ := x.loaded(); return n == 1 && x.get("k") == "one" })
	second := put(t, b, "k", "two", first)
	WaitFor(t, "a change", func() bool { return x.get("k") == "two" })
	for _, old := range []uint64{0, first} {
		if _, err := a.Put(t.Context(), "k", []byte("three"), old); !errors.Is(err, bus.ErrChanged) {
			t.Errorf("a put over revision %d: %v, want ErrChanged", old, err)
		}
	}
	if e, err := a.Get(t.Context(), "k"); err != nil || string(e.Value) != "two" || e.Revision != second {
		t.Errorf("get: %q at %d, %v", e.Value, e.Revision, err)
	}
	third := put(t, a, "k", "three", second)
	if err := a.Forget(t.Context(), "k", second); err != nil {
		t.Error(err)
	}
	if e, err := a.Get(t.Context(), "k"); err != nil || string(e.Value) != "three" {
		t.Errorf("forgetting an old revision: %q, %v", e.Value, err)
	}
	if err := a.Forget(t.Context(), "k", third); err != nil {
		t.Error(err)
	}
	if e, err := a.Get(t.Context(), "k"); err != nil || e.Value != nil || e.Revision != 0 {
		t.Errorf("forgotten: %q at %d, %v", e.Value, e.Revision, err)
	}
	put(t, a, "k", "again", 0)
	WaitFor(t, "what was put again", func() bool { return x.get("k") == "again" })
}

func bucketLost(t *testing.T, s Server) {
	a, b := Connect(t, s), Connect(t, s)
	bucket := a.Bucket("test")
	put(t, bucket, "k", "one", 0)
	x := watchBucket(t, b.Bucket("test"))
	WaitFor(t, "what was there", func() bool { return x.get("k") == "one" })
	s.Away(t)
	if _, err := bucket.Put(t.Context(), "k2", nil, 0); !errors.Is(err, bus.ErrAway) {
		t.Errorf("a put while the bus is away: %v, want ErrAway", err)
	}
	s.Back(t)
	WaitFor(t, "a put", func() bool { _, err := bucket.Put(t.Context(), "k2", []byte("two"), 0); return err == nil })
	WaitFor(t, "what was put after the bus came back", func() bool { return x.get("k2") == "two" })
	before, _ := x.loaded()
	s.Wipe(t)
	WaitFor(t, "the watch to end and begin anew", func() bool { n, err := x.loaded(); return n > before && err != nil })
	WaitFor(t, "a put", func() bool { _, err := bucket.Put(t.Context(), "k3", []byte("three"), 0); return err == nil })
	WaitFor(t, "what was put into the new bucket", func() bool { return x.get("k3") == "three" })
}
