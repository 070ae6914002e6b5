package imap

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/presence"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// errDrain ends a session that waits for a command while the role drains.
var errDrain = errors.New("draining")

// conn is the socket below a session: deadlines, TLS, and the order of reads and writes.
type conn struct {
	svc    *Service
	id     string
	client netip.Addr
	nc     net.Conn // the TLS connection once there is one
	raw    net.Conn
	secure bool
	// inflate decompresses what the client sends; nil: nothing is compressed, in neither direction.
	inflate io.Reader
	in      *wire.Reader
	out     *wire.Writer
	card    presence.Card

	// waiting tells that no command is in progress; drain that the session is to end at the next such moment.
	waiting atomic.Bool
	drain   atomic.Bool
	drained atomic.Bool // drain's interruption of a read was seen
	// cut tells that the session is to end at its next read, and lastly closes raw soon after: see session.Cut.
	cut    atomic.Bool
	lastly atomic.Pointer[time.Timer]
	// idling tells Read not to touch out, which belongs to pushes then. Written by the session's goroutine under session.mu.
	idling bool
	// readErr is a read that failed within a command: the connection is to end.
	readErr error
	// loginBy is when who has not logged in is cut off; zero afterwards.
	loginBy time.Time
}

// Read is what the command reader reads from: what was written leaves before the client is waited for.
func (c *conn) Read(p []byte) (int, error) {
	if !c.idling {
		if err := c.out.Flush(); err != nil {
			return 0, err
		}
	}
	if c.inflate != nil {
		return c.inflate.Read(p)
	}
	return c.receive(p)
}

// receive reads what came, compressed or not.
func (c *conn) receive(p []byte) (int, error) {
	for {
		c.nc.SetReadDeadline(c.deadline())
		// Behind the deadline: what Wake and Cut ask for is seen here, or moves the deadline.
		if c.cut.Load() || c.drain.Load() && c.waiting.Load() {
			return 0, errDrain
		}
		n, err := c.nc.Read(p)
		c.card.In.Add(uint64(n))
		c.svc.metrics.received.Add(float64(n))
		if n == 0 && c.cut.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, errDrain
		}
		if n == 0 && c.drain.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
			if c.waiting.Load() {
				return 0, errDrain
			}
			// Wake came in the middle of a command, which may end; another does not come.
			if c.drained.CompareAndSwap(false, true) {
				continue
			}
		}
		return n, err
	}
}

func (c *conn) deadline() time.Time {
	now := time.Now()
	d := now.Add(c.svc.cfg.ReadTimeout)
	if c.waiting.Load() || c.idling {
		d = now.Add(c.svc.cfg.IdleTimeout)
	}
	if !c.loginBy.IsZero() && c.loginBy.Before(d) {
		d = c.loginBy
	}
	return d
}

// Write is what the response writer writes to.
func (c *conn) Write(p []byte) (int, error) {
	if c.inflate == nil {
		return c.send(p)
	}
	return len(p), deflate(p, func(b []byte) error {
		_, err := c.send(b)
		return err
	})
}

// send writes octets as they are.
func (c *conn) send(p []byte) (int, error) {
	c.nc.SetWriteDeadline(time.Now().Add(c.svc.cfg.WriteTimeout))
	n, err := c.nc.Write(p)
	c.card.Out.Add(uint64(n))
	c.svc.metrics.sent.Add(float64(n))
	return n, err
}

// Wake asks the session to end once no command is in progress.
func (c *conn) Wake() {
	c.drain.Store(true)
	c.raw.SetReadDeadline(time.Unix(1, 0))
}

// sever closes the connection.
func (c *conn) sever() { c.raw.Close() }

// handshake turns the connection into a TLS connection.
func (c *conn) handshake(ctx context.Context) error {
	tc := tls.Server(c.raw, c.svc.deps.TLS)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	c.raw.SetDeadline(time.Time{})
	if err := tc.HandshakeContext(ctx); err != nil {
		return err
	}
	c.nc = tc
	c.secure = true
	c.card.Change(func(s *presence.State) { s.TLS = tls.VersionName(tc.ConnectionState().Version) })
	return nil
}

// Serve is the life of a connection.
func (s *session) Serve() {
	s.svc.metrics.accepted.Inc()
	s.svc.metrics.connections.Inc()
	defer s.svc.metrics.connections.Dec()
	defer s.close()
	defer s.recovered()
	if s.implicit {
		if err := s.handshake(s.ctx); err != nil {
			s.log.Info("TLS handshake failed", obs.Error(err))
			return
		}
	}
	s.greet()
	for !s.over {
		if err := s.next(); err != nil {
			s.end(err)
			return
		}
	}
	s.out.Flush()
}

// next waits for one command and runs it. An error ends the connection.
func (s *session) next() error {
	s.waiting.Store(true)
	err := s.await()
	s.waiting.Store(false)
	if err != nil {
		return err
	}
	if s.drain.Load() {
		return errDrain
	}
	s.refused = bad("literal too large") // where decide is not even asked
	command, err := s.in.Command(s.decide)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch err {
	case nil:
		s.execute(command)
	case wire.ErrTooLong:
		s.dropped(command, bad("command line too long"))
	case wire.ErrRefused:
		s.dropped(command, s.refused)
	default:
		return err
	}
	if s.bad >= s.badLimit() {
		s.bye("too many bad commands")
	}
	if s.readErr != nil {
		return s.readErr
	}
	return s.out.Err()
}

// end says good-bye where that is still heard.
func (s *session) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kicked := s.farewell.Load()
	switch {
	case kicked != nil && (errors.Is(err, errDrain) || errors.Is(err, os.ErrDeadlineExceeded)):
		s.bye(goodbye(kicked))
	case errors.Is(err, errDrain):
		s.bye("server shutting down")
	case errors.Is(err, wire.ErrFlood):
		s.bye("[TOOBIG] command too large")
	case errors.Is(err, os.ErrDeadlineExceeded) && s.out.Err() == nil:
		if s.account == 0 {
			s.bye("[UNAVAILABLE] login took too long")
		} else {
			s.bye("autologout")
		}
	case err == io.EOF:
	default:
		s.log.Debug("connection lost", obs.Error(err))
	}
	s.out.Flush()
}

// recovered ends one connection by a panic of ours, not the process.
func (s *session) recovered() {
	if p := recover(); p != nil {
		s.svc.metrics.panics.Inc()
		s.log.Error("panicked", panicAttr(p), obs.Stack(debug.Stack()))
		if s.inflate == nil {
			s.nc.SetWriteDeadline(time.Now().Add(time.Second))
			s.nc.Write([]byte("* BYE [SERVERBUG] internal error\r\n"))
		}
	}
}

// linger gives a client that did not ask for the end time to read why: what it sends meanwhile would make the system reset
// the connection.
func (s *session) linger() {
	if !s.over || !s.drain.Load() && s.farewell.Load() == nil || s.out.Err() != nil {
		return
	}
	for _, c := range []net.Conn{s.nc, s.raw} { // with TLS a good-bye of its own comes first
		half, ok := c.(interface{ CloseWrite() error })
		if !ok || half.CloseWrite() != nil {
			return
		}
		if c == s.raw {
			break
		}
	}
	s.raw.SetReadDeadline(time.Now().Add(lastWords))
	io.CopyN(io.Discard, s.raw, lingerOctets) // whatever ends it, the connection is closed next
}

// close gives back what the session holds.
func (s *session) close() {
	s.cancel()
	s.linger()
	// With TLS this says good-bye, for which crypto/tls waits 5 s at most (RFC 8446 §6.1).
	s.nc.Close()
	if t := s.lastly.Load(); t != nil {
		t.Stop()
	}
	s.unselect()
}
