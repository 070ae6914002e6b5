package filter

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/bus/embedded"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// On a real bus: what lies on mail.accepted comes out on mail.filtered with its verdict, once each, and Run ends with its
// context.
func TestRunOnTheBus(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a bus")
	}
	server, err := embedded.Start(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	conn, err := bus.Connect(t.Context(), bus.Config{}, slog.New(slog.DiscardHandler), server.Option())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	f := start(t, nil)
	f.service.deps.Bus = conn
	const messages = 20
	for range messages {
		m := f.bodies.put(env("alice@good.example.com", "198.51.100.1"), body{text: plain("alice@good.example.com")}, blob.Accepted)
		payload, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Publish(t.Context(), bus.Accepted, 0, payload); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 2)
	go func() { ended <- f.service.Run(ctx) }()
	seen := map[string]bool{}
	go func() {
		ended <- conn.Consume(ctx, bus.Consumer{Subject: bus.Filtered}, func(_ context.Context, batch []*bus.Work) {
			for _, w := range batch {
				var m mailv1.Accepted
				if err := proto.Unmarshal(w.Data(), &m); err != nil || names(m.Verdict) != "SPF_FAIL DKIM_NONE DMARC_REJECT" || m.Verdict.InDialogue {
					t.Errorf("got %v, %v", m.Verdict, err)
				}
				seen[string(m.QueueId)] = true
				w.Ack()
			}
			if len(seen) == messages {
				cancel()
			}
		})
	}()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if len(seen) != messages {
		t.Errorf("%d messages came out, want %d", len(seen), messages)
	}
	if n, err := conn.Backlog(t.Context(), bus.Accepted); err != nil || n != 0 {
		t.Errorf("%d messages are left on mail.accepted, %v", n, err)
	}
}
