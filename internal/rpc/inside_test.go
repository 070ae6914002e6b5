package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/rpc"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// ways are those in which a process calls itself and others: what holds for one holds for both.
var ways = map[string]func(t testing.TB, register func(grpc.ServiceRegistrar)) grpc.ClientConnInterface{
	"inside": func(t testing.TB, register func(grpc.ServiceRegistrar)) grpc.ClientConnInterface {
		c := rpc.NewInside(slog.New(slog.DiscardHandler), nil)
		register(c)
		c.Serve()
		t.Cleanup(c.Close)
		return c
	},
	"grpc": func(t testing.TB, register func(grpc.ServiceRegistrar)) grpc.ClientConnInterface {
		srv := rpc.NewServer(slog.New(slog.DiscardHandler))
		register(srv)
		conn, stop, err := rpc.Local(srv)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		return conn
	},
}

func bothWays(t *testing.T, run func(t *testing.T, serve func(func(grpc.ServiceRegistrar)) grpc.ClientConnInterface)) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			run(t, func(register func(grpc.ServiceRegistrar)) grpc.ClientConnInterface { return way(t, register) })
		})
	}
}

// handlers are handlers that a test sets.
type handlers struct {
	storev1.UnimplementedLeasesServer
	storev1.UnimplementedMailboxesServer
	directoryv1.UnimplementedDirectoryServer
	acquire      func(context.Context, *storev1.AcquireRequest) (*storev1.AcquireResponse, error)
	find         func(context.Context, *storev1.FindRequest) (*storev1.FindResponse, error)
	snapshot     func(*storev1.SnapshotRequest, grpc.ServerStreamingServer[storev1.SnapshotResponse]) error
	append       func(grpc.ClientStreamingServer[storev1.AppendRequest, storev1.AppendResponse]) error
	authenticate func(grpc.BidiStreamingServer[directoryv1.AuthenticateRequest, directoryv1.AuthenticateResponse]) error
}

func (h *handlers) Acquire(ctx context.Context, in *storev1.AcquireRequest) (*storev1.AcquireResponse, error) {
	return h.acquire(ctx, in)
}

func (h *handlers) Find(ctx context.Context, in *storev1.FindRequest) (*storev1.FindResponse, error) {
	return h.find(ctx, in)
}

func (h *handlers) Snapshot(in *storev1.SnapshotRequest, s grpc.ServerStreamingServer[storev1.SnapshotResponse]) error {
	return h.snapshot(in, s)
}

func (h *handlers) Append(s grpc.ClientStreamingServer[storev1.AppendRequest, storev1.AppendResponse]) error {
	return h.append(s)
}

func (h *handlers) Authenticate(s grpc.BidiStreamingServer[directoryv1.AuthenticateRequest, directoryv1.AuthenticateResponse]) error {
	return h.authenticate(s)
}

type callers struct {
	storev1.LeasesClient
	storev1.MailboxesClient
	directoryv1.DirectoryClient
}

func callersOf(serve func(func(grpc.ServiceRegistrar)) grpc.ClientConnInterface, h *handlers) callers {
	conn := serve(func(r grpc.ServiceRegistrar) {
		storev1.RegisterLeasesServer(r, h)
		storev1.RegisterMailboxesServer(r, h)
		directoryv1.RegisterDirectoryServer(r, h)
	})
	return callers{storev1.NewLeasesClient(conn), storev1.NewMailboxesClient(conn), directoryv1.NewDirectoryClient(conn)}
}

func want(t *testing.T, what string, err error, code codes.Code) {
	t.Helper()
	if got := status.Code(err); got != code {
		t.Errorf("%s: got %v, want %v (%v)", what, got, code, err)
	}
}

func page(n int) *storev1.SnapshotResponse {
	return &storev1.SnapshotResponse{Expunged: []byte(fmt.Sprint(n))}
}

// TestContext: a deadline and a cancellation reach the handler, and end the call at once whatever the handler does; of the
// caller's context only metadata is seen.
func TestContext(t *testing.T) {
	type secret struct{}
	bothWays(t, func(t *testing.T, serve func(func(grpc.ServiceRegistrar)) grpc.ClientConnInterface) {
		release, entered, left := make(chan struct{}), make(chan struct{}, 1), make(chan error, 1)
		wait := func(ctx context.Context) error {
			entered <- struct{}{}
			<-ctx.Done()
			left <- ctx.Err()
			<-release
			return nil
		}
		c := callersOf(serve, &handlers{
			acquire: func(ctx context.Context, in *storev1.AcquireRequest) (*storev1.AcquireResponse, error) {
				switch in.GetName() {
				case "look":
					md, _ := metadata.FromIncomingContext(ctx)
					if ctx.Value(secret{}) != nil || len(md.Get("told")) != 1 || md.Get("told")[0] != "yes" {
						return nil, errors.New("values crossed, or metadata did not")
					}
					if _, ok := ctx.Deadline(); !ok {
						return nil, errors.New("no deadline")
					}
					// Contexts made of it end with it.
					child, cancel := context.WithTimeout(ctx, time.Hour)
					defer cancel()
					return &storev1.AcquireResponse{}, child.Err()
				}
				return nil, wait(ctx)
			},
			snapshot: func(_ *storev1.SnapshotRequest, s grpc.ServerStreamingServer[storev1.SnapshotResponse]) error {
				s.Send(page(1))
				return wait(s.Context())
			},
		})
		defer close(release)
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), secret{}, 1), time.Minute)
		defer cancel()
		_, err := c.Acquire(metadata.AppendToOutgoingContext(ctx, "told", "yes"), &storev1.AcquireRequest{Name: "look"})
		want(t, "look", err, codes.OK)

		ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err = c.Acquire(ctx, &storev1.AcquireRequest{})
		want(t, "deadline", err, codes.DeadlineExceeded)
		cancel()
		<-entered
		<-left

		ctx, cancel = context.WithCancel(t.Context())
		go func() { <-entered; cancel() }()
		_, err = c.Acquire(ctx, &storev1.AcquireRequest{})
		want(t, "cancelled", err, codes.Canceled)
		if err := <-left; err != context.Canceled {
			t.Errorf("the handler's context ended with %v", err)
		}

		ctx, cancel = context.WithCancel(t.Context())
		stream, err := c.Snapshot(ctx, &storev1.SnapshotRequest{})
		want(t, "stream", err, codes.OK)
		_, err = stream.Recv()
		want(t, "first page", err, codes.OK)
		<-entered
		cancel()
		_, err = stream.Recv()
		want(t, "cancelled stream", err, codes.Canceled)
		<-left

		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		_, err = c.Acquire(ctx, &storev1.AcquireRequest{})
		want(t, "cancelled before", err, codes.Canceled)
	})
}

// TestMessagesAreNotShared: what one side does to a message after it was sent is not seen by the other.
func TestMessagesAreNotShared(t *testing.T) {
	bothWays(t, func(t *testing.T, serve func(func(grpc.ServiceRegistrar)) grpc.ClientConnInterface) {
		var kept *storev1.FindRequest
		mine := &storev1.FindResponse{Found: []*storev1.FoundMailbox{{Mailbox: &storev1.Mailbox{Name: "INBOX", Keywords: []string{"a"}}}}}
		data := []byte("first")
		c := callersOf(serve, &handlers{
			find: func(_ context.Context, in *storev1.FindRequest) (*storev1.FindResponse, error) {
				kept = in
				in.Names[0] = "changed by the handler"
				return mine, nil
			},
			snapshot: func(_ *storev1.SnapshotRequest, s grpc.ServerStreamingServer[storev1.SnapshotResponse]) error {
				p := &storev1.SnapshotResponse{Expunged: data, Mailbox: &storev1.Mailbox{Name: "one"}}
				s.Send(p)
				p.Mailbox.Name = "two"
				return s.Send(p)
			},
		})
		req := &storev1.FindRequest{Account: 1, Names: []string{"INBOX"}, Ids: []uint64{7}}
		resp, err := c.Find(t.Context(), req)
		want(t, "find", err, codes.OK)
		if req.Names[0] != "INBOX" {
			t.Errorf("the handler changed the request to %q", req.Names[0])
		}
		req.Ids[0] = 8
		if kept.Ids[0] != 7 {
			t.Error("the caller changed what the handler has")
		}
		resp.Found[0].Mailbox.Name, resp.Found[0].Mailbox.Keywords[0] = "x", "x"
		if m := mine.Found[0].Mailbox; m.Name != "INBOX" || m.Keywords[0] != "a" {
			t.Errorf("the caller changed the handler's response to %v", m)
		}
		stream, err := c.Snapshot(t.Context(), &storev1.SnapshotRequest{})
		want(t, "snapshot", err, codes.OK)
		for _, name := range []string{"one", "two"} {
			p, err := stream.Recv()
			want(t, name, err, codes.OK)
			if p.GetMailbox().GetName() != name || string(p.GetExpunged()) != "first" {
				t.Errorf("got %v, want %q", p, name)
			}
			p.Expunged[0] = 'X'
		}
	})
}

// TestStreams: order, ends and errors of streams of all kinds.
func TestStreams(t *testing.T) {
	bothWays(t, func(t *testing.T, serve func(func(grpc.ServiceRegistrar)) grpc.ClientConnInterface) {
		ended := make(chan error, 1)
		c := callersOf(serve, &handlers{
			snapshot: func(in *storev1.SnapshotRequest, s grpc.ServerStreamingServer[storev1.SnapshotResponse]) error {
				s.SetHeader(metadata.Pairs("h", "1"))
				s.SetTrailer(metadata.Pairs("t", "2"))
				for i := range int(in.GetSinceModSeq()) {
					if err := s.Send(page(i)); err != nil {
						ended <- err
						return err
					}
				}
				switch in.GetMailbox() {
				case 1:
					return status.Error(codes.NotFound, "gone")
				case 2:
					panic("boom")
				}
				return nil
			},
			append: func(s grpc.ClientStreamingServer[storev1.AppendRequest, storev1.AppendResponse]) error {
				var all []byte
				for {
					in, err := s.Recv()
					if err == io.EOF {
						break
					}
					if err != nil {
						return err
					}
					if all = append(all, in.GetData()...); bytes.Contains(all, []byte("bad")) {
						return status.Error(codes.FailedPrecondition, "refused")
					}
				}
				if len(all) == 0 {
					s.SendAndClose(&storev1.AppendResponse{})
					return status.Error(codes.Aborted, "after the response")
				}
				return s.SendAndClose(&storev1.AppendResponse{UidValidity: uint32(len(all))})
			},
			authenticate: func(s grpc.BidiStreamingServer[directoryv1.AuthenticateRequest, directoryv1.AuthenticateResponse]) error {
				for {
					if _, err := s.Recv(); err != nil {
						return nil
					}
					if err := s.Send(&directoryv1.AuthenticateResponse{}); err != nil {
						return err
					}
				}
			},
		})
		read := func(req *storev1.SnapshotRequest) (grpc.ServerStreamingClient[storev1.SnapshotResponse], int, error) {
			stream, err := c.Snapshot(t.Context(), req)
			want(t, "snapshot", err, codes.OK)
			for n := 0; ; n++ {
				p, err := stream.Recv()
				if err != nil {
					return stream, n, err
				}
				if string(p.GetExpunged()) != fmt.Sprint(n) {
					t.Fatalf("got page %s, want %d", p.GetExpunged(), n)
				}
			}
		}
		stream, n, err := read(&storev1.SnapshotRequest{SinceModSeq: 100})
		if n != 100 || err != io.EOF {
			t.Errorf("got %d pages and %v", n, err)
		}
		header, err := stream.Header()
		if err != nil || len(header.Get("h")) != 1 || len(stream.Trailer().Get("t")) != 1 {
			t.Errorf("header %v, trailer %v, %v", header, stream.Trailer(), err)
		}
		if _, err := stream.Recv(); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
		_, n, err = read(&storev1.SnapshotRequest{SinceModSeq: 5, Mailbox: 1})
		want(t, fmt.Sprintf("%d of 5 pages and an error", n), err, codes.NotFound)
		_, _, err = read(&storev1.SnapshotRequest{Mailbox: 2})
		want(t, "panic", err, codes.Internal)

		// Who does not read holds the handler up, until he goes.
		ctx, cancel := context.WithCancel(t.Context())
		idle, err := c.Snapshot(ctx, &storev1.SnapshotRequest{SinceModSeq: 1 << 40})
		want(t, "snapshot", err, codes.OK)
		_, err = idle.Recv()
		want(t, "first page", err, codes.OK)
		cancel()
		if err := <-ended; err == nil {
			t.Error("the handler sent to nobody")
		}

		up := func(parts ...string) (grpc.ClientStreamingClient[storev1.AppendRequest, storev1.AppendResponse], error) {
			stream, err := c.Append(t.Context())
			want(t, "append", err, codes.OK)
			for _, p := range parts {
				if err := stream.Send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Data{Data: []byte(p)}}); err != nil {
					return stream, err
				}
			}
			return stream, nil
		}
		a, err := up("some", "more")
		want(t, "send", err, codes.OK)
		resp, err := a.CloseAndRecv()
		if want(t, "append", err, codes.OK); resp.GetUidValidity() != 8 {
			t.Errorf("got %v", resp)
		}
		if a, err = up("bad"); err != nil {
			t.Fatal(err)
		}
		for err == nil { // until the refusal is known
			err = a.Send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Data{Data: []byte("more")}})
		}
		if err != io.EOF {
			t.Errorf("sent to who refused: %v", err)
		}
		_, err = a.CloseAndRecv()
		want(t, "refused", err, codes.FailedPrecondition)
		a, _ = up()
		_, err = a.CloseAndRecv()
		want(t, "error after the response", err, codes.Aborted)

		b, err := c.Authenticate(t.Context())
		want(t, "authenticate", err, codes.OK)
		for range 20 {
			if err := b.Send(&directoryv1.AuthenticateRequest{}); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		b.CloseSend()
		if _, err := b.Recv(); err != io.EOF {
			t.Errorf("after both ended: %v", err)
		}
	})
}

// TestRefused: what cannot reach another process does not reach this one.
func TestRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, serve func(func(grpc.ServiceRegistrar)) grpc.ClientConnInterface) {
		large := strings.Repeat("x", rpc.MaxMessage)
		c := callersOf(serve, &handlers{
			acquire: func(_ context.Context, in *storev1.AcquireRequest) (*storev1.AcquireResponse, error) {
				return &storev1.AcquireResponse{}, nil
			},
			find: func(context.Context, *storev1.FindRequest) (*storev1.FindResponse, error) {
				return &storev1.FindResponse{Found: []*storev1.FoundMailbox{{Mailbox: &storev1.Mailbox{Name: large}}}}, nil
			},
			snapshot: func(_ *storev1.SnapshotRequest, s grpc.ServerStreamingServer[storev1.SnapshotResponse]) error {
				return s.Send(&storev1.SnapshotResponse{Expunged: []byte(large)})
			},
		})
		_, err := c.Acquire(t.Context(), &storev1.AcquireRequest{Name: "not UTF-8: \xff"})
		want(t, "text that is none", err, codes.Internal)
		_, err = c.Acquire(t.Context(), &storev1.AcquireRequest{Name: large})
		want(t, "large request", err, codes.ResourceExhausted)
		_, err = c.Find(t.Context(), &storev1.FindRequest{})
		want(t, "large response", err, codes.ResourceExhausted)
		stream, err := c.Snapshot(t.Context(), &storev1.SnapshotRequest{})
		want(t, "snapshot", err, codes.OK)
		_, err = stream.Recv()
		want(t, "large page", err, codes.ResourceExhausted)
		_, err = c.Release(t.Context(), &storev1.ReleaseRequest{})
		want(t, "unimplemented", err, codes.Unimplemented)
		_, err = storev1.NewLeasesClient(serve(func(grpc.ServiceRegistrar) {})).Acquire(t.Context(), &storev1.AcquireRequest{})
		want(t, "no such service", err, codes.Unimplemented)
		stream, err = storev1.NewMailboxesClient(serve(func(grpc.ServiceRegistrar) {})).Snapshot(t.Context(), &storev1.SnapshotRequest{})
		want(t, "a stream of no such service", err, codes.OK)
		_, err = stream.Recv()
		want(t, "what is heard from it", err, codes.Unimplemented)
	})
}

// TestGiven: a response that is given arrives as one that is copied, either way; within the process what it points to is the
// handler's own.
func TestGiven(t *testing.T) {
	bothWays(t, func(t *testing.T, serve func(func(grpc.ServiceRegistrar)) grpc.ClientConnInterface) {
		octets := []byte("octets")
		conn := serve(func(r grpc.ServiceRegistrar) {
			storev1.RegisterMailboxesServer(r, &handlers{snapshot: func(_ *storev1.SnapshotRequest, s grpc.ServerStreamingServer[storev1.SnapshotResponse]) error {
				for range 2 {
					if err := s.SendMsg(rpc.Given(&storev1.SnapshotResponse{Expunged: octets, Done: true})); err != nil {
						return err
					}
				}
				return s.SendMsg(rpc.Given(&storev1.SnapshotResponse{Expunged: make([]byte, rpc.MaxMessage+1)}))
			}})
		})
		stream, err := storev1.NewMailboxesClient(conn).Snapshot(t.Context(), &storev1.SnapshotRequest{})
		if err != nil {
			t.Fatal(err)
		}
		_, inside := conn.(*rpc.Inside)
		for range 2 {
			got, err := stream.Recv()
			if err != nil || string(got.GetExpunged()) != "octets" || !got.GetDone() {
				t.Fatalf("got %v, %v", got, err)
			}
			if same := &got.GetExpunged()[0] == &octets[0]; same != inside {
				t.Errorf("not copied: %t, within the process: %t", same, inside)
			}
			got.Expunged = nil // the message itself is the caller's
		}
		_, err = stream.Recv()
		want(t, "too large", err, codes.ResourceExhausted)
	})
}

// TestInsideBeginsAndEnds: calls wait for Serve, and end with Close.
func TestInsideBeginsAndEnds(t *testing.T) {
	conn := rpc.NewInside(slog.New(slog.DiscardHandler), nil)
	entered := make(chan struct{})
	storev1.RegisterLeasesServer(conn, &handlers{acquire: func(ctx context.Context, _ *storev1.AcquireRequest) (*storev1.AcquireResponse, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	c := storev1.NewLeasesClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := c.Acquire(ctx, &storev1.AcquireRequest{})
	want(t, "before Serve", err, codes.DeadlineExceeded)
	var calls sync.WaitGroup
	calls.Go(func() {
		_, err := c.Acquire(context.Background(), &storev1.AcquireRequest{})
		want(t, "under way", err, codes.Canceled)
	})
	conn.Serve()
	<-entered
	conn.Close()
	calls.Wait()
	_, err = c.Acquire(t.Context(), &storev1.AcquireRequest{})
	want(t, "after Close", err, codes.Canceled)
}

func BenchmarkCall(b *testing.B) {
	for name, way := range ways {
		b.Run(name, func(b *testing.B) {
			c := storev1.NewLeasesClient(way(b, func(r grpc.ServiceRegistrar) {
				storev1.RegisterLeasesServer(r, leases{fail: func() error { return nil }})
			}))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Acquire(context.Background(), &storev1.AcquireRequest{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkStream(b *testing.B) {
	for name, way := range ways {
		b.Run(name, func(b *testing.B) {
			h := &handlers{snapshot: func(_ *storev1.SnapshotRequest, s grpc.ServerStreamingServer[storev1.SnapshotResponse]) error {
				return s.Send(page(1))
			}}
			c := storev1.NewMailboxesClient(way(b, func(r grpc.ServiceRegistrar) { storev1.RegisterMailboxesServer(r, h) }))
			b.ReportAllocs()
			for b.Loop() {
				stream, err := c.Snapshot(context.Background(), &storev1.SnapshotRequest{})
				for err == nil {
					_, err = stream.Recv()
				}
				if err != io.EOF {
					b.Fatal(err)
				}
			}
		})
	}
}
