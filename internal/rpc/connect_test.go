package rpc_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/certs"
	"github.com/mailfarm/mailfarm/internal/pki"
	"github.com/mailfarm/mailfarm/internal/rpc"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// config makes the files of a process of the farm.
func config(t *testing.T, use pki.Use, hosts ...string) rpc.Config {
	t.Helper()
	ca, err := pki.Open(filepath.Join(t.TempDir(), "ca"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Issue("peer", use, hosts...); err != nil {
		t.Fatal(err)
	}
	return rpc.Config{CAFile: ca.CA(), CertificateFile: ca.Certificate("peer"), KeyFile: ca.Key("peer")}
}

func load(t *testing.T, c rpc.Config) *certs.Reloader {
	t.Helper()
	r, err := c.Certificates(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// directory answers Resolve, and counts.
type directory struct {
	directoryv1.UnimplementedDirectoryServer
	asked atomic.Int64
}

func (d *directory) Resolve(context.Context, *directoryv1.ResolveRequest) (*directoryv1.ResolveResponse, error) {
	d.asked.Add(1)
	return &directoryv1.ResolveResponse{}, nil
}

// process serves a directory at address until the test ends or stop is called.
func process(t *testing.T, creds *certs.Reloader, address string) (d *directory, at string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	d = &directory{}
	s := rpc.NewServer(slog.New(slog.DiscardHandler), rpc.Serving(creds.ServerConfig())...)
	directoryv1.RegisterDirectoryServer(s, d)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return d, l.Addr().String(), s.Stop
}

func connect(t *testing.T, target string, creds *certs.Reloader) directoryv1.DirectoryClient {
	t.Helper()
	conn, err := rpc.Connect(target, creds.Credentials())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return directoryv1.NewDirectoryClient(conn)
}

func TestProcessesProveThemselves(t *testing.T) {
	good := load(t, config(t, pki.Peer, "127.0.0.1"))
	_, at, _ := process(t, good, "127.0.0.1:0")
	if _, err := connect(t, at, good).Resolve(t.Context(), &directoryv1.ResolveRequest{}); err != nil {
		t.Errorf("a process of the farm: %v", err)
	}
	for name, stranger := range map[string]*certs.Reloader{
		"another authority":        load(t, config(t, pki.Peer, "127.0.0.1")),
		"a certificate for others": load(t, config(t, pki.Peer, "192.0.2.1")),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := connect(t, at, stranger).Resolve(ctx, &directoryv1.ResolveRequest{}); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: got %v, want Unavailable", name, err)
		}
	}
}

func TestCallsOutliveARestart(t *testing.T) {
	creds := load(t, config(t, pki.Peer, "127.0.0.1"))
	_, at, stop := process(t, creds, "127.0.0.1:0")
	c := connect(t, at, creds)
	if _, err := c.Resolve(t.Context(), &directoryv1.ResolveRequest{}); err != nil {
		t.Fatal(err)
	}
	stop()
	answer := make(chan error, 1)
	go func() {
		_, err := c.Resolve(t.Context(), &directoryv1.ResolveRequest{})
		answer <- err
	}()
	d, _, _ := process(t, creds, at)
	if err := <-answer; err != nil {
		t.Errorf("a call while the process was restarted: %v", err)
	}
	if d.asked.Load() != 1 {
		t.Errorf("the new process was asked %d times, want once", d.asked.Load())
	}
}

func TestCallsFailAtOnceAfterAWhile(t *testing.T) {
	creds := load(t, config(t, pki.Peer, "127.0.0.1"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	c := connect(t, at, creds)
	if _, err := c.Resolve(t.Context(), &directoryv1.ResolveRequest{}); status.Code(err) != codes.Unavailable {
		t.Fatalf("nobody there: got %v, want Unavailable", err)
	}
	// Patience has ended by now: what a hundred calls take is far from a hundred waits.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 100 {
		if _, err := c.Resolve(ctx, &directoryv1.ResolveRequest{}); status.Code(err) != codes.Unavailable {
			t.Fatalf("nobody there: got %v, want Unavailable", err)
		}
	}
}

// follower streams until its caller hangs up.
type follower struct {
	adminv1.UnimplementedAdminServer
	ended chan struct{}
}

func (f *follower) Follow(_ *adminv1.FollowRequest, s grpc.ServerStreamingServer[adminv1.FollowResponse]) error {
	defer close(f.ended)
	for range 3 {
		if err := s.Send(&adminv1.FollowResponse{}); err != nil {
			return err
		}
	}
	<-s.Context().Done()
	return nil
}

func (f *follower) RetryDead(context.Context, *adminv1.RetryDeadRequest) (*adminv1.RetryDeadResponse, error) {
	return nil, status.Error(codes.NotFound, "there is no dead letter 7")
}

func TestForward(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	f := &follower{ended: make(chan struct{})}
	far := rpc.NewServer(log)
	adminv1.RegisterAdminServer(far, f)
	farConn, stopFar, err := rpc.Local(far)
	if err != nil {
		t.Fatal(err)
	}
	defer stopFar()
	d := &directory{}
	near := rpc.NewServer(log, rpc.Forward(func(method string) *grpc.ClientConn {
		if method == adminv1.Admin_ListDead_FullMethodName {
			return nil
		}
		return farConn
	})...)
	directoryv1.RegisterDirectoryServer(near, d)
	conn, stop, err := rpc.Local(near)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if _, err := directoryv1.NewDirectoryClient(conn).Resolve(t.Context(), &directoryv1.ResolveRequest{}); err != nil || d.asked.Load() != 1 {
		t.Errorf("what is served here: %v, asked %d times", err, d.asked.Load())
	}
	c := adminv1.NewAdminClient(conn)
	if _, err := c.RetryDead(t.Context(), &adminv1.RetryDeadRequest{}); status.Code(err) != codes.NotFound || status.Convert(err).Message() != "there is no dead letter 7" {
		t.Errorf("an error from elsewhere: got %v", err)
	}
	if _, err := c.ListDead(t.Context(), &adminv1.ListDeadRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("what is nowhere: got %v", err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	stream, err := c.Follow(ctx, &adminv1.FollowRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := stream.Recv(); err != nil {
			t.Fatalf("a stream from elsewhere: %v", err)
		}
	}
	hangUp()
	if _, err := stream.Recv(); err == nil || err == io.EOF {
		t.Errorf("after hanging up: got %v", err)
	}
	<-f.ended
}

// away is a directory whose database is away.
type away struct {
	directoryv1.UnimplementedDirectoryServer
	asked atomic.Int64
}

func (a *away) Resolve(context.Context, *directoryv1.ResolveRequest) (*directoryv1.ResolveResponse, error) {
	a.asked.Add(1)
	return nil, status.Error(codes.Unavailable, "database is away")
}

// TestAnswersAreNotAskedForAgain: a process that says that it cannot has waited already.
func TestAnswersAreNotAskedForAgain(t *testing.T) {
	creds := load(t, config(t, pki.Peer, "127.0.0.1"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &away{}
	s := rpc.NewServer(slog.New(slog.DiscardHandler), rpc.Serving(creds.ServerConfig())...)
	directoryv1.RegisterDirectoryServer(s, a)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	_, err = connect(t, l.Addr().String(), creds).Resolve(t.Context(), &directoryv1.ResolveRequest{})
	if status.Code(err) != codes.Unavailable || a.asked.Load() != 1 {
		t.Errorf("got %v after %d questions, want Unavailable after one", err, a.asked.Load())
	}
}
