package imap

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/front"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Deps is what the role is given.
type Deps struct {
	Mailboxes Mailboxes
	// Guarded is Mailboxes of stores that look at the rights of who asks, for what others share; those of before answer none of it.
	// Nil: Mailboxes does.
	Guarded   Mailboxes
	Bodies    Bodies
	Quotas    Quotas
	Directory Directory
	// Annotations is nil where there is no METADATA.
	Annotations Annotations
	// Keys is nil where there is no URLAUTH.
	Keys Keys
	// Sharing and Identities are both nil where nothing is shared.
	Sharing    Sharing
	Identities Identities
	// FullText spares SEARCH messages that cannot match; nil: all are looked at.
	FullText FullText
	Notices  Notices
	// TLS is the server's side; nil offers neither STARTTLS nor implicit TLS.
	TLS     *tls.Config
	Log     *slog.Logger
	Metrics prometheus.Registerer
	// Gate keeps clients out by what other processes know too; nil lets all in.
	Gate front.Gate
	// Listen opens a listener; nil is net.Listen.
	Listen front.Listen
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Mailboxes is the part of storev1.MailboxesClient that IMAP calls.
type Mailboxes interface {
	List(ctx context.Context, in *storev1.ListRequest, opts ...grpc.CallOption) (*storev1.ListResponse, error)
	Find(ctx context.Context, in *storev1.FindRequest, opts ...grpc.CallOption) (*storev1.FindResponse, error)
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

// Quotas is the part of storev1.QuotasClient that IMAP calls.
type Quotas interface {
	GetQuota(ctx context.Context, in *storev1.GetQuotaRequest, opts ...grpc.CallOption) (*storev1.GetQuotaResponse, error)
}

// Annotations is storev1.AnnotationsClient.
type Annotations interface {
	GetAnnotations(ctx context.Context, in *storev1.GetAnnotationsRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.GetAnnotationsResponse], error)
	SetAnnotations(ctx context.Context, in *storev1.SetAnnotationsRequest, opts ...grpc.CallOption) (*storev1.SetAnnotationsResponse, error)
}

// Keys is storev1.MailboxKeysClient.
type Keys interface {
	GetMailboxKey(ctx context.Context, in *storev1.GetMailboxKeyRequest, opts ...grpc.CallOption) (*storev1.GetMailboxKeyResponse, error)
	ResetMailboxKey(ctx context.Context, in *storev1.ResetMailboxKeyRequest, opts ...grpc.CallOption) (*storev1.ResetMailboxKeyResponse, error)
}

// Sharing is storev1.SharingClient.
type Sharing interface {
	GetACL(ctx context.Context, in *storev1.GetACLRequest, opts ...grpc.CallOption) (*storev1.GetACLResponse, error)
	SetACL(ctx context.Context, in *storev1.SetACLRequest, opts ...grpc.CallOption) (*storev1.SetACLResponse, error)
	MyRights(ctx context.Context, in *storev1.MyRightsRequest, opts ...grpc.CallOption) (*storev1.MyRightsResponse, error)
	Shared(ctx context.Context, in *storev1.SharedRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.SharedResponse], error)
	CountUnseen(ctx context.Context, in *storev1.CountUnseenRequest, opts ...grpc.CallOption) (*storev1.CountUnseenResponse, error)
	Unseen(ctx context.Context, in *storev1.UnseenRequest, opts ...grpc.CallOption) (*storev1.UnseenResponse, error)
	CopyTo(ctx context.Context, in *storev1.CopyToRequest, opts ...grpc.CallOption) (*storev1.CopyToResponse, error)
}

// FullText is the part of storev1.FullTextClient that IMAP calls.
type FullText interface {
	RuleOut(ctx context.Context, in *storev1.RuleOutRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[storev1.RuleOutResponse], error)
}

// Identities is directoryv1.IdentitiesClient.
type Identities interface {
	Identify(ctx context.Context, in *directoryv1.IdentifyRequest, opts ...grpc.CallOption) (*directoryv1.IdentifyResponse, error)
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
