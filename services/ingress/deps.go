package ingress

import (
	"context"
	"crypto/tls"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/front"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// Directory is the part of directoryv1.DirectoryClient that ingress calls.
type Directory interface {
	Resolve(ctx context.Context, in *directoryv1.ResolveRequest, opts ...grpc.CallOption) (*directoryv1.ResolveResponse, error)
}

// Deps is what the role is given.
type Deps struct {
	// Deps is what acceptance is given: where messages go. Its log, metrics and clock are the role's too.
	acceptance.Deps
	Directory Directory
	// TLS is the server's side; nil offers neither STARTTLS nor implicit TLS.
	TLS *tls.Config
	// SMTP and LMTP are open sockets that are served beside those of Config.
	SMTP, LMTP []front.Socket
	// Listen opens those of Config; nil is net.Listen.
	Listen front.Listen
}
