package s3_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
)

// TestPausedWriter has a writer stand still in the middle of a commit until another process has sealed its incarnation:
// it answers nobody under the old one, and goes on under a new one. The clocks of the two are two minutes apart.
func TestPausedWriter(t *testing.T) {
	for name, size := range map[string]int{"small": 1000, "large": 300_000} {
		t.Run(name, func(t *testing.T) {
			next := backend()
			way := newFaulty(next)
			b, other := at(t, way), at(t, next)
			cfg := b.cfg
			hasty(&cfg)
			cfg.DeadAfter = time.Second
			early := func() time.Time { return time.Now().Add(-time.Minute) }
			late := func() time.Time { return time.Now().Add(time.Minute) }
			s, err := s3.Open(t.Context(), cfg, s3.Options{Log: quiet, Now: late})
			if err != nil {
				t.Fatal(err)
			}
			closing(t, s)
			cfg.Endpoint = other.cfg.Endpoint
			reader, err := s3.Open(t.Context(), cfg, s3.Options{Log: quiet, Now: early})
			if err != nil {
				t.Fatal(err)
			}
			closing(t, reader)
			w := newWorld(t)
			w.commit(s, 10)
			first := firstOf(w.answered)

			// While it lives nobody takes it for dead.
			for deadline := time.Now().Add(3 * cfg.DeadAfter / 2); time.Now().Before(deadline); {
				if !live(t, reader, first.Incarnation) {
					t.Fatal("an incarnation with heartbeats is taken for dead")
				}
				time.Sleep(cfg.Heartbeat / 2) // as readers do: they ask now and then
			}
			held, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			way.set(func(r *http.Request) action {
				if segmentOf(r) >= 0 {
					once.Do(func() { close(held) })
				}
				<-release
				return pass
			})
			if name == "large" {
				// Its body is stored, its frame is not.
				way.set(func(r *http.Request) action {
					if isPut(r, "body/") {
						return pass
					}
					if segmentOf(r) >= 0 {
						once.Do(func() { close(held) })
					}
					<-release
					return pass
				})
			}
			done := make(chan error)
			go func() { done <- w.commit(s, size) }()
			<-held
			eventually(t, "it is dead", func() bool { return !live(t, reader, first.Incarnation) })
			w.check(reader, "while it stands still")
			close(release)
			err = <-done
			if name == "large" && (err == nil || errors.Is(err, blob.ErrFull)) || name == "small" && err != nil {
				t.Errorf("commit of the sealed writer: %v", err)
			}
			eventually(t, "commits go on", func() bool { return w.commit(s, 20) == nil })
			for id := range w.answered {
				if id != first && id.Incarnation == first.Incarnation {
					t.Errorf("%v was answered in a sealed incarnation", id)
				}
			}
			w.check(reader, "end")
		})
	}
}

func firstOf(m map[blob.ID]blobtest.Message) blob.ID {
	for id := range m {
		return id
	}
	return blob.ID{}
}
