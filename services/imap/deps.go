package imap

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Deps is what the role is given.
type Deps struct {
	Mailboxes Mailboxes
	Bodies    Bodies
	Directory Directory
	Notices   Notices
	// TLS is the server's side; nil offers neither STARTTLS nor implicit TLS.
	TLS     *tls.Config
	Log     *slog.Logger
	Metrics prometheus.Registerer
	// Listen opens a listener; nil is net.Listen.
	Listen func(network, address string) (net.Listener, error)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Mailboxes is the part of storev1.MailboxesClient that IMAP calls.
type Mailboxes interface {
	List(ctx context.Context, in *storev1.ListRequest, opts ...grpc.CallOption) (*storev1.ListResponse, error)
	Create(ctx context.Context, in *storev1.CreateRequest, opts ...grpc.CallOption) (*storev1.CreateResponse, error)
	Delete(ctx context.Context, in *storev1.DeleteRequest, opts ...grpc.CallOption) (*storev1.DeleteResponse, error)
	Rename(ctx context.Context, in *storev1.RenameRequest, opts ...grpc.CallOption) (*storev1.RenameResponse, error)
	Subscribe(ctx context.Context, in *storev1.SubscribeRequest, opts ...grpc.CallOption) (*storev1.SubscribeResponse, error)
	Snapshot(ctx context.Context, in *storev1.SnapshotRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SnapshotResponse], error)
	Emails(ctx context.Context, in *storev1.EmailsRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.EmailsResponse], error)
	Flag(ctx context.Context, in *storev1.FlagRequest, opts ...grpc.CallOption) (*storev1.FlagResponse, error)
	Copy(ctx context.Context, in *storev1.CopyRequest, opts ...grpc.CallOption) (*storev1.CopyResponse, error)
	Move(ctx context.Context, in *storev1.MoveRequest, opts ...grpc.CallOption) (*storev1.MoveResponse, error)
	Expunge(ctx context.Context, in *storev1.ExpungeRequest, opts ...grpc.CallOption) (*storev1.ExpungeResponse, error)
	Append(ctx context.Context, opts ...grpc.CallOption) (grpc.ClientStreamingClient[storev1.AppendRequest, storev1.AppendResponse], error)
	Counters(ctx context.Context, in *storev1.CountersRequest, opts ...grpc.CallOption) (*storev1.CountersResponse, error)
}

// Bodies is storev1.BodiesClient.
type Bodies interface {
	Open(ctx context.Context, in *storev1.OpenRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.OpenResponse], error)
}

// Directory is the part of directoryv1.DirectoryClient that IMAP calls.
type Directory interface {
	Login(ctx context.Context, in *directoryv1.LoginRequest, opts ...grpc.CallOption) (*directoryv1.LoginResponse, error)
	Authenticate(ctx context.Context, opts ...grpc.CallOption) (grpc.BidiStreamingClient[directoryv1.AuthenticateRequest, directoryv1.AuthenticateResponse], error)
}

// Notices tells of changes in an account, wherever they were made: mailbox.changed.<account> on the bus. A notice may be
// lost or come twice.
type Notices interface {
	// Subscribe calls changed for every notice until cancel; changed does not block. It may still be called once while
	// cancel returns.
	Subscribe(account uint64, changed func(*mailv1.MailboxChanged)) (cancel func())
}
