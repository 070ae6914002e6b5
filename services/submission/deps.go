package submission

import (
	"context"
	"crypto/tls"
	"net/netip"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/front"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// Directory is what submission calls of it; directoryv1.DirectoryClient.
type Directory interface {
	Resolve(ctx context.Context, in *directoryv1.ResolveRequest, opts ...grpc.CallOption) (*directoryv1.ResolveResponse, error)
	Login(ctx context.Context, in *directoryv1.LoginRequest, opts ...grpc.CallOption) (*directoryv1.LoginResponse, error)
	Authenticate(ctx context.Context, opts ...grpc.CallOption) (grpc.BidiStreamingClient[directoryv1.AuthenticateRequest, directoryv1.AuthenticateResponse], error)
	Owns(ctx context.Context, in *directoryv1.OwnsRequest, opts ...grpc.CallOption) (*directoryv1.OwnsResponse, error)
}

// Limits are those that hold over all processes. They answer from memory, at once.
type Limits interface {
	// EnterAccount counts a connection that logs in, and tells whether it may; leave is called at its end, either way.
	EnterAccount(client netip.Addr, account uint64) (leave func(), ok bool)
	// AccountMessage counts a message that an account begins, and tells whether it may.
	AccountMessage(client netip.Addr, account uint64) bool
	// AccountRecipients counts n recipients, or as many as there may be, and returns how many.
	AccountRecipients(client netip.Addr, account uint64, n int) int
}

// Deps is what the role is given.
type Deps struct {
	// Deps is what acceptance is given: where messages go. Its log, metrics and clock are the role's too.
	acceptance.Deps
	Directory Directory
	// Quotas tells which mailboxes are full; nil: none is.
	Quotas acceptance.Quotas
	// TLS is the server's side; without it nobody can log in but from plaintext networks.
	TLS *tls.Config
	// SMTP are open sockets that are served beside those of Config.
	SMTP []front.Socket
	// Gate keeps clients out by what other processes know too; nil lets all in.
	Gate front.Gate
	// Limits bound what accounts send; nil is none.
	Limits Limits
	// Listen opens those of Config; nil is net.Listen.
	Listen front.Listen
}
