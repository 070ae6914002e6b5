package front

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// Proxy says whose PROXY headers a listener believes: version 1 and 2, as load balancers send them before everything else,
// also before a TLS handshake. Who is not trusted is served as who it is, and hung up on when it sends a header.
type Proxy struct {
	// Trusted are the networks of the load balancers, as "10.0.0.0/8". Default none: no header is looked for.
	Trusted []string `yaml:"trusted"`
	// Optional serves a trusted peer without a header as who it is: at once where it sends something else, otherwise when
	// Timeout is over, for there a greeting is awaited. Default: it is hung up on.
	Optional bool `yaml:"optional"`
	// Timeout is for the whole header. Default 5s.
	Timeout time.Duration `yaml:"timeout"`
}

const defaultProxyTimeout = 5 * time.Second

// validate tells all faults, each under the key.
func (p Proxy) validate(key string) error {
	_, err := p.policy(key)
	if p.Timeout < 0 {
		err = errors.Join(err, fmt.Errorf("%s.timeout: %v is negative", key, p.Timeout))
	}
	if len(p.Trusted) == 0 && (p.Optional || p.Timeout != 0) {
		err = errors.Join(err, fmt.Errorf("%s.trusted: is empty", key))
	}
	return err
}

// policy is Proxy as it is used; nil for none.
func (p Proxy) policy(key string) (*policy, error) {
	if len(p.Trusted) == 0 {
		return nil, nil
	}
	trusted, err := ParseNetworks(key+".trusted", p.Trusted)
	if err != nil {
		return nil, err
	}
	timeout := p.Timeout
	if timeout == 0 {
		timeout = defaultProxyTimeout
	}
	return &policy{trusted: trusted, optional: p.Optional, timeout: timeout}, nil
}

type policy struct {
	trusted  Networks
	optional bool
	timeout  time.Duration
}

// identify reads the header that a trusted peer sends and tells who the peer speaks for. The connection it returns is nc,
// or nc with the octets before it that were read and are no header. It may take as long as the timeout.
func (p *policy) identify(nc net.Conn, peer Peer) (net.Conn, Peer, error) {
	if err := nc.SetReadDeadline(time.Now().Add(p.timeout)); err != nil {
		return nc, peer, err
	}
	h, read, err := readHeader(nc)
	switch {
	case err == nil && h.client == (netip.Addr{}):
		peer.Local = true
	case err == nil:
		peer.Client = h.client
	case p.optional && errors.Is(err, errNoHeader):
		nc = &begun{Conn: nc, read: read}
	case p.optional && errors.Is(err, os.ErrDeadlineExceeded) && len(read) == 0:
	default:
		return nc, peer, err
	}
	return nc, peer, nc.SetReadDeadline(time.Time{})
}
