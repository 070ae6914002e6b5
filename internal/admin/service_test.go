package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/admin"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/bus/embedded"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/rpc"
	"github.com/mailfarm/mailfarm/internal/trace"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// world is the service over a real bus, spoken to by gRPC.
type world struct {
	t      *testing.T
	conn   *bus.Conn
	client adminv1.AdminClient
}

func newWorld(t *testing.T) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	conn, err := bus.Connect(t.Context(), bus.Config{PoisonLimit: 1}, log, server.Option())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	srv := rpc.NewServer(log)
	admin.New(conn, "v1", nil, time.Now()).Register(srv)
	loop, stop, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return &world{t, conn, adminv1.NewAdminClient(loop)}
}

// TestFollow shows the events that fulfil all conditions, live.
func TestFollow(t *testing.T) {
	w := newWorld(t)
	one, two := envelope.NewQueueID(time.Now()), envelope.NewQueueID(time.Now())
	event := func(n int, id envelope.QueueID, from, to, messageID string) *mailv1.TraceEvent {
		return &mailv1.TraceEvent{Stage: []string{"smtp", "router", "local"}[n%3], Detail: fmt.Sprint(n), QueueId: id[:], ReversePath: from, ForwardPath: to, MessageId: messageID}
	}
	all := []*mailv1.TraceEvent{
		event(0, one, "alice@example.org", "", "<1@example.org>"), event(1, one, "alice@example.org", "bob@example.net", "<1@example.org>"),
		event(2, one, "alice@example.org", "carol@example.net", "<1@example.org>"), event(3, two, "bob@example.net", "alice@example.org", "<2@example.net>"),
		{Stage: "smtp", Detail: "4", ConnId: "a connection without a message"},
	}
	for _, tt := range []struct {
		name string
		req  *adminv1.FollowRequest
		want string
	}{
		{"all", &adminv1.FollowRequest{}, "01234"},
		{"a message", &adminv1.FollowRequest{QueueId: one[:]}, "012"},
		{"a message and a recipient", &adminv1.FollowRequest{QueueId: one[:], ForwardPath: "Bob@Example.net"}, "1"},
		{"a recipient", &adminv1.FollowRequest{ForwardPath: "carol@example.net"}, "2"},
		{"a sender", &adminv1.FollowRequest{ReversePath: "ALICE@example.org"}, "012"},
		{"a message-id", &adminv1.FollowRequest{MessageId: "<2@example.net>"}, "3"},
		{"two that exclude each other", &adminv1.FollowRequest{MessageId: "<2@example.net>", ReversePath: "alice@example.org"}, ""},
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
			emitter := trace.New(w.conn, "h")
			for _, ev := range all {
				emitter.Emit(proto.Clone(ev).(*mailv1.TraceEvent))
			}
			ended, end := context.WithCancel(t.Context())
			end()
			emitter.Run(ended)
			var got []string
			for len(got) < len(tt.want) {
				resp, err := stream.Recv()
				if err != nil {
					t.Fatalf("after %v: %v", got, err)
				}
				for _, ev := range resp.Events {
					got = append(got, ev.Detail)
				}
			}
			if slices.Sort(got); strings.Join(got, "") != tt.want { // stages come apart
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
	stream, err := w.client.Follow(t.Context(), &adminv1.FollowRequest{QueueId: []byte("short")})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("no queue id: %v", err)
	}
}

// TestSlowFollower misses events; the bus and other followers do not wait for it.
func TestSlowFollower(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	slow, err := w.client.Follow(ctx, &adminv1.FollowRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Header(); err != nil {
		t.Fatal(err)
	}
	payload, err := proto.Marshal(&mailv1.TraceBatch{Events: []*mailv1.TraceEvent{{Detail: strings.Repeat("x", 100_000)}}})
	if err != nil {
		t.Fatal(err)
	}
	const sent = 2000
	for range sent {
		if err := w.conn.Notify(bus.Trace("smtp"), payload); err != nil {
			t.Fatal(err)
		}
	}
	fast, err := w.client.Follow(ctx, &adminv1.FollowRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fast.Header(); err != nil {
		t.Fatal(err)
	}
	last, _ := proto.Marshal(&mailv1.TraceBatch{Events: []*mailv1.TraceEvent{{Detail: "last"}}})
	if err := w.conn.Notify(bus.Trace("smtp"), last); err != nil {
		t.Fatal(err)
	}
	if resp, err := fast.Recv(); err != nil || resp.Events[0].Detail != "last" {
		t.Errorf("%v, %v", resp, err)
	}
}

// poison makes dead letters of payloads.
func (w *world) poison(payloads ...[]byte) {
	w.t.Helper()
	for i, p := range payloads {
		if err := w.conn.Publish(w.t.Context(), bus.Remote, uint64(i), p); err != nil {
			w.t.Fatal(err)
		}
	}
	w.consume(len(payloads), func(work *bus.Work) { work.Poison(errors.New("it is poison")) })
}

// consume takes n pieces of remote work.
func (w *world) consume(n int, each func(*bus.Work)) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	taken := 0
	err := w.conn.Consume(ctx, bus.Consumer{Subject: bus.Remote}, func(_ context.Context, batch []*bus.Work) {
		for _, work := range batch {
			each(work)
			if taken++; taken == n {
				cancel()
			}
		}
	})
	if err != nil || taken < n {
		w.t.Fatalf("%d of %d pieces of work came: %v", taken, n, err)
	}
}

// TestDeadLetters are listed with their message, retried one by one or all, and told apart from what is not there.
func TestDeadLetters(t *testing.T) {
	w := newWorld(t)
	id := envelope.NewQueueID(time.Now())
	work, err := proto.Marshal(&mailv1.RemoteWork{QueueId: id[:], Group: "example.net"})
	if err != nil {
		t.Fatal(err)
	}
	reordered := append([]byte("\x12\x01x"), work...) // another field comes first
	w.poison(work, reordered, []byte("nonsense"), []byte("\x08\x01"), []byte("\x0a\x02no"), nil)
	ctx := t.Context()
	list, err := w.client.ListDead(ctx, &adminv1.ListDeadRequest{})
	if err != nil || len(list.Dead) != 6 {
		t.Fatalf("%v, %v", list, err)
	}
	for i, d := range list.Dead {
		if want := i < 2; (string(d.QueueId) == string(id[:])) != want || !want && d.QueueId != nil {
			t.Errorf("dead letter %d is of message %x", i, d.QueueId)
		}
		if d.Letter.Reason != "it is poison" || d.Letter.Subject != string(bus.Remote) || d.Letter.Deliveries != 1 || d.Letter.TimeNs == 0 {
			t.Errorf("dead letter %d: %v", i, d.Letter)
		}
	}
	if two, err := w.client.ListDead(ctx, &adminv1.ListDeadRequest{Limit: 2}); err != nil || len(two.Dead) != 2 {
		t.Errorf("two: %v, %v", two, err)
	}
	first := list.Dead[0].Sequence
	if resp, err := w.client.RetryDead(ctx, &adminv1.RetryDeadRequest{Sequences: []uint64{first}}); err != nil || resp.Retried != 1 {
		t.Errorf("retry one: %v, %v", resp, err)
	}
	w.consume(1, func(got *bus.Work) {
		if string(got.Data()) != string(work) {
			t.Errorf("back at work: %x", got.Data())
		}
		got.Ack()
	})
	if _, err := w.client.RetryDead(ctx, &adminv1.RetryDeadRequest{Sequences: []uint64{first}}); status.Code(err) != codes.NotFound {
		t.Errorf("retry it again: %v", err)
	}
	if resp, err := w.client.RetryDead(ctx, &adminv1.RetryDeadRequest{All: true, Sequences: []uint64{first}}); err != nil || resp.Retried != 5 {
		t.Errorf("retry all: %v, %v", resp, err)
	}
	if rest, err := w.client.ListDead(ctx, &adminv1.ListDeadRequest{}); err != nil || len(rest.Dead) != 0 {
		t.Errorf("left over: %v, %v", rest, err)
	}
}

// TestManyDeadLetters: the list has room for all, if not for all their payloads.
func TestManyDeadLetters(t *testing.T) {
	w := newWorld(t)
	payloads := make([][]byte, 60)
	for i := range payloads {
		payloads[i] = []byte(strings.Repeat("x", 700_000))
	}
	w.poison(payloads...)
	list, err := w.client.ListDead(t.Context(), &adminv1.ListDeadRequest{})
	if err != nil || len(list.Dead) != len(payloads) {
		t.Fatalf("%d dead letters, %v", len(list.GetDead()), err)
	}
	if n := proto.Size(list); n > 9<<20 {
		t.Errorf("%d octets", n)
	}
}

// TestBusAway is told as such.
func TestBusAway(t *testing.T) {
	w := newWorld(t)
	w.conn.Close(t.Context())
	_, err := w.client.ListDead(t.Context(), &adminv1.ListDeadRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("list: %v", err)
	}
	_, err = w.client.RetryDead(t.Context(), &adminv1.RetryDeadRequest{All: true})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("retry: %v", err)
	}
	stream, err := w.client.Follow(t.Context(), &adminv1.FollowRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("follow: %v", err)
	}
}

// process is one that operators may end.
type process struct {
	drained chan struct{}
	left    atomic.Int64
	once    sync.Once
	told    chan struct{}
}

func (p *process) Drain()                   { p.once.Do(func() { close(p.told) }) }
func (p *process) Drained() <-chan struct{} { return p.drained }
func (p *process) Sessions() map[string]int { return map[string]int{"imap": int(p.left.Load())} }

// TestDrain tells what is left, each time that changes, and is for operators only.
func TestDrain(t *testing.T) {
	p := &process{drained: make(chan struct{}), told: make(chan struct{})}
	p.left.Store(2)
	client := func(s *admin.Service) adminv1.AdminClient {
		srv := rpc.NewServer(slog.New(slog.DiscardHandler))
		s.Register(srv)
		conn, stop, err := rpc.Local(srv)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return adminv1.NewAdminClient(conn)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	service := admin.New(nil, "v1", nil, time.Now())
	stream, err := client(service).Drain(ctx, &adminv1.DrainRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("who may not: %v", err)
	}
	if stream, err = client(service.With(p)).Drain(ctx, &adminv1.DrainRequest{}); err != nil {
		t.Fatal(err)
	}
	want := func(sessions uint32, drained bool) {
		t.Helper()
		resp, err := stream.Recv()
		if err != nil || resp.Sessions["imap"] != sessions || resp.Drained != drained {
			t.Fatalf("got %v, %v; want %d sessions, drained %v", resp, err, sessions, drained)
		}
	}
	want(2, false)
	<-p.told
	p.left.Store(1)
	want(1, false)
	close(p.drained)
	want(1, true)
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("behind the last answer: %v", err)
	}
}
