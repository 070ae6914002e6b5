package admin_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/trace"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// journey has three processes tell of two messages, each by its own connection's emitter.
func (w *world) journey(one, two envelope.QueueID, began time.Time) {
	w.t.Helper()
	emitters := map[string]*trace.Emitter{}
	for _, host := range []string{"mx-1", "work-1", "out-1"} {
		emitters[host] = trace.New(w.conn, host)
	}
	for i, ev := range []struct {
		host, role, stage, event string
		id                       envelope.QueueID
		from, to, client         string
	}{
		{"mx-1", "ingress", "smtp", "accepted", one, "alice@one.example", "", "192.0.2.1"},
		{"mx-1", "ingress", "smtp", "accepted", two, "", "bob@Two.example", "2001:db8::1"},
		{"work-1", "router", "router", "queued", one, "alice@one.example", "carol@three.example", "192.0.2.1"},
		{"out-1", "delivery-remote", "remote", "deferred", one, "alice@one.example", "carol@three.example", "192.0.2.1"},
		{"out-1", "delivery-remote", "remote", "relayed", one, "alice@one.example", "carol@three.example", "192.0.2.1"},
		{"work-1", "delivery-local", "local", "delivered", two, "", "bob@Two.example", "2001:db8::1"},
	} {
		trace.As(emitters[ev.host], ev.role).Emit(&mailv1.TraceEvent{TimeNs: began.Add(time.Duration(i) * time.Second).UnixNano(), Stage: ev.stage, Event: ev.event,
			QueueId: ev.id[:], ReversePath: ev.from, ForwardPath: ev.to, Client: ev.client, Detail: fmt.Sprint(i)})
	}
	ended, end := context.WithCancel(w.t.Context())
	end()
	for _, e := range emitters {
		e.Run(ended)
	}
}

// TestFollowAcrossProcesses narrows what several processes tell.
func TestFollowAcrossProcesses(t *testing.T) {
	w := newWorld(t)
	one, two := envelope.NewQueueID(time.Now()), envelope.NewQueueID(time.Now())
	for _, tt := range []struct {
		name string
		req  *adminv1.FollowRequest
		want string
	}{
		{"all", &adminv1.FollowRequest{}, "012345"},
		{"a message", &adminv1.FollowRequest{QueueId: one[:]}, "0234"},
		{"a message at one host", &adminv1.FollowRequest{QueueId: one[:], Host: "OUT-1"}, "34"},
		{"a stage", &adminv1.FollowRequest{Stage: "remote"}, "34"},
		{"a role", &adminv1.FollowRequest{Role: "delivery-local"}, "5"},
		{"an event", &adminv1.FollowRequest{Event: "accepted"}, "01"},
		{"a host", &adminv1.FollowRequest{Host: "work-1"}, "25"},
		{"a client", &adminv1.FollowRequest{Client: "192.0.2.1"}, "0234"},
		{"a client in another form", &adminv1.FollowRequest{Client: "2001:DB8:0::1"}, "15"},
		{"clients of a network", &adminv1.FollowRequest{Client: "192.0.2.0/24"}, "0234"},
		{"a sender's domain", &adminv1.FollowRequest{Domain: "one.example"}, "0234"},
		{"a recipient's domain", &adminv1.FollowRequest{Domain: "TWO.example"}, "15"},
		{"recipients of a domain", &adminv1.FollowRequest{ForwardPath: "@three.example"}, "234"},
		{"the null sender", &adminv1.FollowRequest{ReversePath: "<>"}, "15"},
		{"all at once", &adminv1.FollowRequest{Role: "delivery-remote", Client: "192.0.2.1", Event: "relayed", Host: "out-1"}, "4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			stream, err := w.client.Follow(ctx, tt.req)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Header(); err != nil {
				t.Fatal(err)
			}
			w.journey(one, two, time.Now())
			var got []string
			for len(got) < len(tt.want) {
				resp, err := stream.Recv()
				if err != nil {
					t.Fatalf("after %v: %v", got, err)
				}
				for _, ev := range resp.Events {
					got = append(got, ev.Detail)
					if ev.Host == "" || ev.Role == "" {
						t.Errorf("event %v does not say who saw it", ev)
					}
				}
			}
			// Several processes: the order between them is not told.
			slices.Sort(got)
			if s := strings.Join(got, ""); s != tt.want {
				t.Errorf("got %s, want %s", s, tt.want)
			}
		})
	}
}

// TestJourney reads one message's way over the processes from the history, in the order of its times.
func TestJourney(t *testing.T) {
	w := newWorld(t)
	began := time.Now()
	one, two := envelope.NewQueueID(began), envelope.NewQueueID(began)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if resp, err := w.client.Journey(ctx, &adminv1.JourneyRequest{QueueId: one[:]}); err != nil || len(resp.Events) != 0 {
		t.Errorf("an empty history: got %v, %v", resp, err)
	}
	w.journey(one, two, began)
	for {
		resp, err := w.client.Journey(ctx, &adminv1.JourneyRequest{QueueId: one[:], SinceNs: began.Add(-time.Minute).UnixNano()})
		if err != nil {
			t.Fatal(err)
		}
		if len(resp.Events) < 4 {
			continue // the stream takes what is published in its own time
		}
		var got []string
		for _, ev := range resp.Events {
			got = append(got, ev.Host+" "+ev.Role+" "+ev.Event)
		}
		want := "mx-1 ingress accepted, work-1 router queued, out-1 delivery-remote deferred, out-1 delivery-remote relayed"
		if s := strings.Join(got, ", "); s != want || resp.Cut {
			t.Errorf("got %s, cut %t; want %s", s, resp.Cut, want)
		}
		break
	}
	resp, err := w.client.Journey(ctx, &adminv1.JourneyRequest{QueueId: one[:], SinceNs: time.Now().Add(time.Hour).UnixNano()})
	if err != nil || len(resp.Events) != 0 {
		t.Errorf("a time of which there is no history: got %v, %v", resp, err)
	}
	if _, err := w.client.Journey(ctx, &adminv1.JourneyRequest{QueueId: []byte("short")}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no queue id: got %v", err)
	}
}
