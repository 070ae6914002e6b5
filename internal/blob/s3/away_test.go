package s3_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// TestAway has the server go away: commits fail in bounded time, then at once; nothing fails any more once it is back; and
// both are told once.
func TestAway(t *testing.T) {
	server := servers.S3(t)
	b := real(t, server)
	cfg := b.cfg
	cfg.RetryFor, cfg.Heartbeat = 300*time.Millisecond, 100*time.Millisecond
	var log lockedBuffer
	s, err := s3.Open(t.Context(), cfg, s3.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, s)
	w := newWorld(t)
	w.commitAtOnce(s, 100, 2000, 300_000)
	if len(w.errs) > 0 {
		t.Fatal(w.errs)
	}
	server.Stop()
	w.commitAtOnce(s, 100, 200, 300, 300_000)
	if len(w.errs) != 4 || len(w.unknown) == 0 {
		t.Errorf("while the server is away: %v", w)
	}
	eventually(t, "readiness tells", func() bool { return s.Ready() != nil })
	for range 100 {
		if _, err := s.Create(blob.ID{}); err == nil || errors.Is(err, blob.ErrFull) {
			t.Fatalf("Create while the server is away: %v", err)
		}
	}
	server.Start()
	eventually(t, "commits go on", func() bool { return w.commit(s, 500) == nil })
	eventually(t, "readiness tells", func() bool { return s.Ready() == nil })
	w.check(s, "end")
	for _, event := range []string{"S3 server is away", "S3 server is back"} {
		if n := strings.Count(log.String(), event); n != 1 {
			t.Errorf("%q is logged %d times, want once:\n%s", event, n, log.String())
		}
	}
	// The incarnation that ended is sealed by its own process.
	first := uint64(1<<64 - 1)
	for id := range w.answered {
		first = min(first, id.Incarnation)
	}
	eventually(t, "the first incarnation is dead", func() bool { return !live(t, s, first) })
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestRestart kills the server again and again under load, and starts it: what was answered is there.
func TestRestart(t *testing.T) {
	server := servers.S3(t)
	b := real(t, server)
	s := b.open(t)
	w := newWorld(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					w.commit(s, 1000+i*100_000)
				}
			}
		})
	}
	answered := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.answered)
	}
	for range 3 {
		n := answered()
		eventually(t, "some are answered", func() bool { return answered() > n+20 })
		server.Stop()
		server.Start()
	}
	n := answered()
	eventually(t, "some are answered", func() bool { return answered() > n+20 })
	close(stop)
	wg.Wait()
	if len(w.errs) > 0 {
		t.Errorf("a server that is back at once: %v", w.errs)
	}
	s.Close()
	w.check(closing(t, b.open(t)), "another process")
}

// TestBusy has more wait than may: it is told at once, and what waited is stored.
func TestBusy(t *testing.T) {
	way := newFaulty(backend())
	s := closing(t, at(t, way).open(t, func(c *s3.Config) { c.MaxWaitingBytes = 1 << 20 }))
	release := make(chan struct{})
	way.set(func(r *http.Request) action {
		if segmentOf(r) >= 0 {
			<-release
		}
		return pass
	})
	w := newWorld(t)
	var failed atomic.Int32
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			if err := w.commit(s, 200_000); err != nil {
				failed.Add(1)
			}
		})
	}
	eventually(t, "some are refused", func() bool { return failed.Load() >= 7 })
	close(release)
	wg.Wait()
	if len(w.answered) != 5 {
		t.Errorf("with room for five: %v", w)
	}
	w.check(s, "end")
}
