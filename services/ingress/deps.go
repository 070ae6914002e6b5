package ingress

import (
	"context"
	"crypto/tls"
	"net/netip"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/front"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// Directory is the part of directoryv1.DirectoryClient that ingress calls.
type Directory interface {
	Resolve(ctx context.Context, in *directoryv1.ResolveRequest, opts ...grpc.CallOption) (*directoryv1.ResolveResponse, error)
}

// Limits are those that hold over all processes.
type Limits interface {
	// Message counts a message that a client begins, and tells whether it may. It answers from memory, at once.
	Message(client netip.Addr) bool
}

// Deps is what the role is given.
type Deps struct {
	// Deps is what acceptance is given: where messages go. Its log, metrics and clock are the role's too.
	acceptance.Deps
	Directory Directory
	// Quotas tells which mailboxes are full; nil: none is.
	Quotas acceptance.Quotas
	// TLS is the server's side; nil offers neither STARTTLS nor implicit TLS.
	TLS *tls.Config
	// SMTP and LMTP are open sockets that are served beside those of Config.
	SMTP, LMTP []front.Socket
	// Gate keeps clients out by what other processes know too; nil lets all in.
	Gate front.Gate
	// Limits bound what clients send by SMTP; nil is none.
	Limits Limits
	// Listen opens those of Config; nil is net.Listen.
	Listen front.Listen
}
