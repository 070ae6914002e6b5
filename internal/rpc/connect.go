package rpc

import (
	"context"
	"crypto/tls"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver/dns"
)

const (
	// callTime bounds a call whose caller gave no deadline.
	callTime = 30 * time.Second
	// patience is how long calls wait for processes that went away: a restart takes about that. Later calls fail at once,
	// until one of them is back.
	patience = 3 * time.Second
	// pingTime and pingWait find a peer that vanished without a word.
	pingTime, pingWait = 15 * time.Second, 5 * time.Second
	// handshakeTime bounds how long a peer may take to prove itself.
	handshakeTime = 10 * time.Second
	// connectionAge makes clients look up names again now and then, and so find processes that were added.
	connectionAge = 30 * time.Second
	// lookUpTime is the least time between two look-ups of a name.
	lookUpTime = 3 * time.Second
)

// serviceConfig spreads calls over all addresses of a name. Those that change nothing, or that a repeat changes nothing more
// of, are tried again where a process went away in the middle: Deliver, Record, Claim, Append and Import keep keys for that; Report,
// Copy and Move do not. Of Append and Import that is so as long as gRPC still holds all that was sent: some hundred KiB.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{
    "name": [
      {"service": "mailfarm.directory.v1.Directory", "method": "Resolve"},
      {"service": "mailfarm.directory.v1.Directory", "method": "Owns"},
      {"service": "mailfarm.directory.v1.Directory", "method": "Login"},
      {"service": "mailfarm.store.v1.Ledger", "method": "Record"},
      {"service": "mailfarm.store.v1.Ledger", "method": "Load"},
      {"service": "mailfarm.store.v1.Ledger", "method": "Claim"},
      {"service": "mailfarm.store.v1.Leases"},
      {"service": "mailfarm.store.v1.Bodies"},
      {"service": "mailfarm.store.v1.Quotas"},
      {"service": "mailfarm.store.v1.Imports"},
      {"service": "mailfarm.store.v1.Sharing"},
      {"service": "mailfarm.store.v1.Annotations"},
      {"service": "mailfarm.store.v1.MailboxKeys"},
      {"service": "mailfarm.directory.v1.Identities"},
      {"service": "mailfarm.store.v1.GuardedMailboxes", "method": "Append"},
      {"service": "mailfarm.store.v1.GuardedMailboxes", "method": "List"},
      {"service": "mailfarm.store.v1.GuardedMailboxes", "method": "Find"},
      {"service": "mailfarm.store.v1.GuardedMailboxes", "method": "Snapshot"},
      {"service": "mailfarm.store.v1.GuardedMailboxes", "method": "Emails"},
      {"service": "mailfarm.store.v1.Mailboxes", "method": "Append"},
      {"service": "mailfarm.store.v1.Mailboxes", "method": "Deliver"},
      {"service": "mailfarm.store.v1.Mailboxes", "method": "List"},
      {"service": "mailfarm.store.v1.Mailboxes", "method": "Find"},
      {"service": "mailfarm.store.v1.Mailboxes", "method": "Snapshot"},
      {"service": "mailfarm.store.v1.Mailboxes", "method": "Emails"},
      {"service": "mailfarm.store.v1.Mailboxes", "method": "Counters"}
    ],
    "retryPolicy": {
      "maxAttempts": 4, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 3, "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }],
  "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.5}
}`

func init() { dns.SetMinResolutionInterval(lookUpTime) }

// Connect connects to a role in other processes: to all at the addresses of target's name, in turn. It returns at once;
// while none is there calls wait for a moment, and then fail as Unavailable.
func Connect(target string, creds credentials.TransportCredentials, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	p := &patient{}
	return Dial(target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingTime, Timeout: pingWait, PermitWithoutStream: true}),
		grpc.WithChainUnaryInterceptor(p.unary),
		grpc.WithChainStreamInterceptor(p.stream),
	}, opts...)...)
}

// Serving are the options of a server that processes made by Connect call.
func Serving(tls *tls.Config) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(credentials.NewTLS(tls)),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingTime, Timeout: pingWait, MaxConnectionAge: connectionAge}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingTime / 2, PermitWithoutStream: true}),
		grpc.MaxConcurrentStreams(10_000),
	}
}

// patient makes calls wait for a connection for a while after it was lost.
type patient struct {
	away atomic.Int64 // since when there is no connection, nanoseconds since 1970; 0: there is one
}

func (p *patient) unary(ctx context.Context, method string, req, resp any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTime)
		defer cancel()
	}
	p.wait(ctx, cc)
	return invoke(ctx, method, req, resp, cc, opts...)
}

func (p *patient) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	p.wait(ctx, cc)
	return streamer(ctx, desc, cc, method, opts...)
}

// wait returns once there is a connection, or one is being made for the first time, or patience has ended. gRPC itself fails
// a call without connection as long as it waits between two tries to connect.
func (p *patient) wait(ctx context.Context, cc *grpc.ClientConn) {
	for {
		state := cc.GetState()
		if state != connectivity.TransientFailure && state != connectivity.Connecting {
			p.away.Store(0)
			return
		}
		now := time.Now().UnixNano()
		p.away.CompareAndSwap(0, now)
		left := patience - time.Duration(now-p.away.Load())
		if left <= 0 {
			return
		}
		waiting, cancel := context.WithTimeout(ctx, left)
		changed := cc.WaitForStateChange(waiting, state)
		cancel()
		if !changed {
			return
		}
	}
}
