package bus_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/bus/bustest"
	"github.com/mailfarm/mailfarm/internal/bus/embedded"
)

// logged is a log that tests read while it is written.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text)
}

// TestDeadLetterWithoutRoom: poison whose row is written is let go, also where its letter cannot be kept.
func TestDeadLetterWithoutRoom(t *testing.T) {
	for _, row := range []struct {
		name, payload string
		full          bool
	}{
		{"the stream is full", "poison", true},
		{"the letter is larger than a message may be", strings.Repeat("x", 8<<20-1000), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, err := embedded.Start(filepath.Join(t.TempDir(), "bus"), "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			log := &logged{}
			c, err := bus.Connect(t.Context(), bustest.Config(), slog.New(slog.NewTextHandler(log, nil)), s.Option())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close(context.Background()) })
			if row.full {
				fill(t, s.Option())
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			dead := make(chan struct{}, 100)
			go func() {
				ended <- c.Consume(ctx, bus.Consumer{Subject: bus.Filtered, OnDead: func(context.Context, *bus.Work, string) error {
					dead <- struct{}{}
					return nil
				}}, func(_ context.Context, batch []*bus.Work) {
					for _, w := range batch {
						w.Poison(errors.New(strings.Repeat("reason ", 200)))
					}
				})
			}()
			if err := c.Publish(t.Context(), bus.Filtered, 1, []byte(row.payload)); err != nil {
				t.Fatal(err)
			}
			<-dead // before that the backlog may be nothing because the consumer is not there yet
			bustest.WaitFor(t, "the work to be let go", func() bool {
				n, err := c.Backlog(t.Context(), bus.Filtered)
				return err == nil && n == 0
			})
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if len(dead) != 0 || !log.has("level=ERROR msg=\"dead letter has no room") {
				t.Errorf("%d rows were written, want one, and an error in the log", 1+len(dead))
			}
			if n, err := c.CountDead(t.Context()); n != 0 || err != nil {
				t.Errorf("%d letters, %v", n, err)
			}
		})
	}
}

// fill leaves no room for dead letters.
func fill(t *testing.T, opt nats.Option) {
	t.Helper()
	nc, err := nats.Connect("", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.Stream(t.Context(), "MAIL_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	cfg := st.CachedInfo().Config
	cfg.MaxBytes = 100
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}
