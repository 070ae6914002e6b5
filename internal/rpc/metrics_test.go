package rpc_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/pki"
	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/rpc"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func TestCallsAreCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := rpc.NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	options := append(m.ServerOptions(), rpc.Forward(func(string) *grpc.ClientConn { return nil })...)
	srv := rpc.NewServer(slog.New(slog.DiscardHandler), options...)
	var answer func() error
	storev1.RegisterLeasesServer(srv, leases{fail: func() error { return answer() }})
	conn, stop, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	client := storev1.NewLeasesClient(conn)
	for _, answer = range []func() error{
		func() error { return nil }, func() error { return nil },
		func() error { return errors.New("broken") },
		func() error { return reply.Transient(452, "4.2.2", "mailbox full") },
		func() error { panic("on purpose") },
	} {
		client.Acquire(t.Context(), &storev1.AcquireRequest{})
	}
	// What strangers make up is one label together.
	for _, method := range []string{"/mailfarm.none.v1.None/A", "/mailfarm.none.v1.None/B"} {
		err := conn.Invoke(context.Background(), method, &storev1.AcquireRequest{}, &storev1.AcquireResponse{})
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: got %v", method, err)
		}
	}
	const want = `# HELP mailfarm_rpc_served_total Calls that were served to roles and operators, by gRPC code.
# TYPE mailfarm_rpc_served_total counter
mailfarm_rpc_served_total{code="Internal",method="store.v1.Leases/Acquire"} 2
mailfarm_rpc_served_total{code="OK",method="store.v1.Leases/Acquire"} 2
mailfarm_rpc_served_total{code="Unavailable",method="store.v1.Leases/Acquire"} 1
mailfarm_rpc_served_total{code="Unimplemented",method="other"} 2
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "mailfarm_rpc_served_total"); err != nil {
		t.Error(err)
	}
}

func TestCallsMadeAreCounted(t *testing.T) {
	creds := load(t, config(t, pki.Peer, "127.0.0.1"))
	_, at, stop := process(t, creds, "127.0.0.1:0")
	reg := prometheus.NewRegistry()
	m, err := rpc.NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.Connect(at, creds.Credentials(), m.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := directoryv1.NewDirectoryClient(conn)
	if _, err := client.Resolve(t.Context(), &directoryv1.ResolveRequest{}); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := client.Resolve(t.Context(), &directoryv1.ResolveRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("nobody there: got %v", err)
	}
	const want = `# HELP mailfarm_rpc_made_total Calls that were made to other processes, by gRPC code.
# TYPE mailfarm_rpc_made_total counter
mailfarm_rpc_made_total{code="OK",method="directory.v1.Directory/Resolve"} 1
mailfarm_rpc_made_total{code="Unavailable",method="directory.v1.Directory/Resolve"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "mailfarm_rpc_made_total"); err != nil {
		t.Error(err)
	}
}
