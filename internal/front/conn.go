package front

import (
	"errors"
	"net"
)

// begun is a connection of which some octets were read already.
type begun struct {
	net.Conn
	read []byte
}

// Read gives those first.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.read) > 0 && len(p) > 0 {
		n := copy(p, b.read)
		b.read = b.read[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}

// CloseWrite closes our side; see net.TCPConn.
func (b *begun) CloseWrite() error { return closeWrite(b.Conn) }

// SetKeepAliveConfig is net.TCPConn's.
func (b *begun) SetKeepAliveConfig(c net.KeepAliveConfig) error { return setKeepAlive(b.Conn, c) }

// errForged ends a connection whose peer sent a PROXY header that is not its to send.
var errForged = errors.New("PROXY header of a peer that is not trusted")

// forgeries are how a PROXY header begins that is told apart from anything a client may begin with; the third is the longest.
var forgeries = [...]string{signature1 + "TCP4 ", signature1 + "TCP6 ", signature1 + "UNKNOWN", signature2}

// guarded is the connection of a peer that is not trusted to send a PROXY header: should the first octets be one, it ends.
// Octets that are not yet a header are passed on: they are no whole command of version 1, and of version 2 empty ones.
type guarded struct {
	net.Conn
	seen   []byte // the first octets as long as they may become a header; then nil
	forged bool
	caught func()
}

func guard(nc net.Conn, caught func()) *guarded {
	return &guarded{Conn: nc, seen: make([]byte, 0, len(forgeries[2])), caught: caught}
}

// Read reads and looks at the first octets.
func (g *guarded) Read(p []byte) (int, error) {
	if g.forged {
		return 0, errForged
	}
	n, err := g.Conn.Read(p)
	if g.seen == nil {
		return n, err
	}
	g.seen = append(g.seen, p[:min(n, cap(g.seen)-len(g.seen))]...)
	undecided := false
	for _, f := range forgeries {
		if !startsLike(g.seen, f) {
			continue
		}
		if len(g.seen) < len(f) {
			undecided = true
			continue
		}
		g.forged = true
		g.caught()
		g.Close()
		return 0, errForged
	}
	if !undecided {
		g.seen = nil
	}
	return n, err
}

// CloseWrite closes our side; see net.TCPConn.
func (g *guarded) CloseWrite() error { return closeWrite(g.Conn) }

// SetKeepAliveConfig is net.TCPConn's.
func (g *guarded) SetKeepAliveConfig(c net.KeepAliveConfig) error { return setKeepAlive(g.Conn, c) }

func closeWrite(nc net.Conn) error {
	if half, ok := nc.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func setKeepAlive(nc net.Conn, c net.KeepAliveConfig) error {
	if tcp, ok := nc.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		return tcp.SetKeepAliveConfig(c)
	}
	return errors.ErrUnsupported
}
