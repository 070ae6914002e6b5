package farm

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// stubborn is a role whose sessions take a while to end, unless they are cut.
type stubborn struct {
	takes time.Duration
	cut   chan struct{}
	err   error
}

func (s *stubborn) Run(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	<-ctx.Done()
	select {
	case <-time.After(s.takes):
	case <-s.cut:
	}
	return nil
}

func (s *stubborn) Close() { close(s.cut) }

func TestDrainingCutsWhatDoesNotEnd(t *testing.T) {
	for _, row := range []struct {
		name        string
		takes, want time.Duration
		cut         bool
	}{
		{"ends", time.Second, time.Second, false},
		{"does not end", time.Hour, frontDrain, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				role := &stubborn{takes: row.takes, cut: make(chan struct{})}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- draining(role)(ctx) }()
				time.Sleep(time.Hour) // the wait begins with the drain only
				cancel()
				begun := time.Now()
				if err := <-done; err != nil || time.Since(begun) != row.want {
					t.Errorf("got %v after %v, want an end after %v", err, time.Since(begun), row.want)
				}
				select {
				case <-role.cut:
					if !row.cut {
						t.Error("sessions that end were cut")
					}
				default:
					if row.cut {
						t.Error("sessions that do not end were not cut")
					}
				}
			})
		})
	}
	if frontDrain >= frontGrace || frontGrace+workGrace+baseGrace >= 10*time.Second {
		t.Errorf("a drain of %v within %v, %v and %v does not end a process within 10s", frontDrain, frontGrace, workGrace, baseGrace)
	}
}

func TestDrainingReturnsTheRolesError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := errors.New("address in use")
		if err := draining(&stubborn{err: taken})(t.Context()); !errors.Is(err, taken) {
			t.Errorf("got %v, want the role's error", err)
		}
	})
}
