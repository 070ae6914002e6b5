package submission

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/obs"
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
	Directory Directory
	Blobs     acceptance.Drafts
	// Filter is asked in the dialogue; nil leaves all of it to the bus.
	Filter acceptance.Filter
	Bus    acceptance.Publisher
	// TLS is the server's side; without it nobody can log in but from plaintext networks.
	TLS *tls.Config
	// SMTP are open sockets that are served beside those of Config.
	SMTP []front.Socket
	// Listen opens those of Config; nil is net.Listen.
	Listen  front.Listen
	Trace   obs.Tracer
	Log     *slog.Logger
	Metrics prometheus.Registerer
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

func (d *Deps) defaults() {
	if d.Trace == nil {
		d.Trace = obs.NoTrace{}
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Metrics == nil {
		d.Metrics = prometheus.NewRegistry()
	}
	if d.Now == nil {
		d.Now = time.Now
	}
}
