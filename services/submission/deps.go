package submission

import (
	"context"
	"crypto/tls"

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

// Deps is what the role is given.
type Deps struct {
	// Deps is what acceptance is given: where messages go. Its log, metrics and clock are the role's too.
	acceptance.Deps
	Directory Directory
	// TLS is the server's side; without it nobody can log in but from plaintext networks.
	TLS *tls.Config
	// SMTP are open sockets that are served beside those of Config.
	SMTP []front.Socket
	// Listen opens those of Config; nil is net.Listen.
	Listen front.Listen
}
