package pop3

import (
	"context"
	"crypto/tls"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/front"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Deps is what the role is given.
type Deps struct {
	Mailboxes Mailboxes
	Bodies    Bodies
	Leases    Leases
	// Imports tells what messages were called where they came from; nil: as we call them.
	Imports   Imports
	Directory Directory
	// TLS is the server's side; nil offers neither STLS nor implicit TLS.
	TLS     *tls.Config
	Log     *slog.Logger
	Metrics prometheus.Registerer
	// Gate keeps clients out by what other processes know too; nil lets all in.
	Gate front.Gate
	// Listen opens a listener; nil is net.Listen.
	Listen front.Listen
}

// Mailboxes is the part of storev1.MailboxesClient that POP3 calls.
type Mailboxes interface {
	List(ctx context.Context, in *storev1.ListRequest, opts ...grpc.CallOption) (*storev1.ListResponse, error)
	Snapshot(ctx context.Context, in *storev1.SnapshotRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SnapshotResponse], error)
	Emails(ctx context.Context, in *storev1.EmailsRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.EmailsResponse], error)
	Flag(ctx context.Context, in *storev1.FlagRequest, opts ...grpc.CallOption) (*storev1.FlagResponse, error)
	Expunge(ctx context.Context, in *storev1.ExpungeRequest, opts ...grpc.CallOption) (*storev1.ExpungeResponse, error)
}

// Bodies is storev1.BodiesClient.
type Bodies interface {
	Open(ctx context.Context, in *storev1.OpenRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.OpenResponse], error)
}

// Imports is the part of storev1.ImportsClient that POP3 calls.
type Imports interface {
	UIDLs(ctx context.Context, in *storev1.UIDLsRequest, opts ...grpc.CallOption) (*storev1.UIDLsResponse, error)
}

// Leases is storev1.LeasesClient.
type Leases interface {
	Acquire(ctx context.Context, in *storev1.AcquireRequest, opts ...grpc.CallOption) (*storev1.AcquireResponse, error)
	Release(ctx context.Context, in *storev1.ReleaseRequest, opts ...grpc.CallOption) (*storev1.ReleaseResponse, error)
}

// Directory is the part of directoryv1.DirectoryClient that POP3 calls.
type Directory interface {
	Login(ctx context.Context, in *directoryv1.LoginRequest, opts ...grpc.CallOption) (*directoryv1.LoginResponse, error)
	Authenticate(ctx context.Context, opts ...grpc.CallOption) (grpc.BidiStreamingClient[directoryv1.AuthenticateRequest, directoryv1.AuthenticateResponse], error)
}
