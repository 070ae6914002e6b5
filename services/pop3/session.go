package pop3

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/presence"
)

// session is one connection. All but what mu guards belongs to its own goroutine.
type session struct {
	svc      *Service
	id       string
	raw      net.Conn // as accepted; never changes, so that others may set its deadline or close it
	conn     net.Conn // raw, or the TLS connection over it
	client   netip.Addr
	implicit bool // TLS from the first octet
	log      *slog.Logger
	ctx      context.Context
	in       input
	out      output

	// AUTHORIZATION state.
	secure       bool // TLS is on
	utf8         bool // UTF8 was given
	user         string
	failedLogins int

	// TRANSACTION state: nil before.
	drop *maildrop

	badCommands int
	closing     bool
	reason      string // why the session ended, for the log
	began       time.Time
	deadline    time.Time // of the line that is awaited

	card  presence.Card
	taken int64 // octets of commands before the one in progress
	// farewell is why an operator, or who changed the account, ends the session; nil: nobody does.
	farewell atomic.Pointer[presence.Farewell]

	mu   sync.Mutex
	idle bool // guarded by mu: waits for a command, so a drain may wake it
}

// errDrain ends sessions when the role stops.
var errDrain = errors.New("server is stopping")

func newSession(s *Service, nc net.Conn, peer front.Peer) *session {
	var b [8]byte
	rand.Read(b[:])
	c := &session{svc: s, id: hex.EncodeToString(b[:]), raw: nc, conn: nc, client: peer.Client, implicit: peer.ImplicitTLS, began: time.Now()}
	c.ctx = context.Background() // It outlives the role's context: a drain ends it.
	c.log = peer.Log(s.log).With(obs.ConnID(c.id), obs.Client(c.client.String()))
	c.card.Begin("pop3", c.id, peer.Client.String(), c.began)
	c.in.received = func(n int) {
		s.metrics.received.Add(float64(n))
		c.card.In.Add(uint64(n))
	}
	c.in.beforeRead = c.beforeRead
	c.in.reset(nc)
	c.out = output{conn: nc, timeout: s.cfg.WriteTimeout, sent: func(n int) {
		s.metrics.sent.Add(float64(n))
		c.card.Out.Add(uint64(n))
	}}
	return c
}

// Serve runs the dialogue to its end. It owns the connection.
func (c *session) Serve() {
	c.svc.metrics.accepted.Inc()
	c.svc.metrics.connections.Inc()
	defer c.svc.metrics.connections.Dec()
	defer c.end()
	defer c.recover()
	if c.implicit && !c.handshake() {
		return
	}
	c.out.ok("mailfarm POP3 ready")
	for !c.closing {
		c.out.mark()
		line, err := c.line(maxLine)
		switch {
		case errors.Is(err, errLongLine):
			c.mistake("line too long")
		case err != nil:
			c.failed(err)
		default:
			c.command(line)
		}
	}
}

// line reads a line; see input.line.
func (c *session) line(limit int) ([]byte, error) {
	c.deadline = time.Time{}
	line, err := c.in.line(limit)
	c.setIdle(false)
	return line, err
}

// beforeRead flushes replies and sets the deadline of the line that is awaited, however slowly it comes.
func (c *session) beforeRead() error {
	if err := c.out.flush(); err != nil {
		return err
	}
	if c.deadline.IsZero() {
		c.deadline = time.Now().Add(c.svc.cfg.IdleTimeout)
		if c.drop == nil {
			c.deadline = c.began.Add(c.svc.cfg.LoginTimeout)
		}
	}
	c.setIdle(true)
	if err := c.raw.SetReadDeadline(c.deadline); err != nil {
		return err
	}
	// Behind the deadline: a drain either is seen here, or comes later and moves the deadline; so does a kick.
	if c.farewell.Load() != nil {
		return errKicked
	}
	if c.svc.front.Draining() {
		return errDrain
	}
	return nil
}

func (c *session) setIdle(idle bool) {
	c.mu.Lock()
	c.idle = idle
	c.mu.Unlock()
}

// Wake interrupts the wait for a command.
func (c *session) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle {
		c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// Cut ends the connection from outside.
func (c *session) Cut() { c.raw.Close() }

// hangUp ends the session after what it has said.
func (c *session) hangUp(reason string) {
	c.closing = true
	if c.reason == "" {
		c.reason = reason
	}
}

// failed ends the session after an error of reading or writing.
func (c *session) failed(err error) {
	timeout := errors.Is(err, os.ErrDeadlineExceeded)
	kicked := c.farewell.Load()
	switch {
	case kicked != nil && (errors.Is(err, errKicked) || timeout):
		c.out.fail(goodbye(kicked))
		c.hangUp("ended from outside")
	case errors.Is(err, errWrite):
		c.hangUp("write failed")
	case errors.Is(err, errDrain), timeout && c.svc.front.Draining():
		c.out.fail("SYS/TEMP", "server is stopping, nothing was removed")
		c.hangUp("drained")
	case timeout:
		// RFC 1939 §3: without entering the UPDATE state.
		c.out.fail("", "timeout")
		c.hangUp("timeout")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		c.hangUp("connection lost")
	default:
		c.hangUp("connection lost")
		c.log.LogAttrs(c.ctx, slog.LevelDebug, "connection failed", obs.Error(err))
	}
}

// mistake answers a line that is no command that can be run, and counts it.
func (c *session) mistake(text string) {
	c.out.misused(text)
	c.countBad()
}

func (c *session) countBad() {
	c.badCommands++
	if c.badCommands >= c.svc.cfg.MaxBadCommands && !c.closing {
		c.out.fail("", "too many errors")
		c.hangUp("too many errors")
	}
}

// recover turns a panic into the end of this session.
func (c *session) recover() {
	p := recover()
	if p == nil {
		return
	}
	c.svc.metrics.panics.Inc()
	c.log.LogAttrs(c.ctx, slog.LevelError, "panicked", obs.Reason(fmt.Sprint(p)), obs.Stack(debug.Stack()))
	if c.out.takeBack() {
		c.out.fail("SYS/TEMP", "internal error")
	}
	c.hangUp("panic")
}

// end gives back what the session holds.
func (c *session) end() {
	c.out.flush()
	c.out.release()
	if c.drop != nil {
		c.drop.close(c)
	}
	if tc, ok := c.conn.(*tls.Conn); ok && c.out.err == nil {
		tc.CloseWrite() // sends close_notify, with a deadline of its own
	}
	c.linger()
	c.raw.Close()
	attrs := []slog.Attr{obs.Reason(c.reason), obs.Delay("connection", time.Since(c.began))}
	if c.drop != nil {
		attrs = append(attrs, obs.User(c.drop.address), slog.Int("retrieved", c.drop.retrieved), slog.Int("removed", c.drop.removed))
	}
	c.log.LogAttrs(c.ctx, slog.LevelInfo, "connection ended", attrs...)
}

// linger gives what was said last the time to arrive: closing with octets unread would make the system drop it.
func (c *session) linger() {
	half, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || !c.closing || c.out.err != nil || c.reason == "quit" || c.reason == "connection lost" {
		return
	}
	if half.CloseWrite() == nil && c.raw.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		io.CopyN(io.Discard, c.raw, lingerOctets) // whatever ends it, the connection is closed next
	}
}

// handshake puts TLS over the connection.
func (c *session) handshake() bool {
	tc := tls.Server(c.raw, c.svc.deps.TLS)
	ctx, cancel := context.WithTimeout(c.ctx, handshakeTimeout)
	defer cancel()
	// The context ends the handshake by closing the connection; deadlines of before must not end it first.
	c.raw.SetDeadline(time.Time{})
	if err := tc.HandshakeContext(ctx); err != nil {
		c.log.LogAttrs(c.ctx, slog.LevelInfo, "TLS handshake failed", obs.Error(err))
		c.out.err = errors.Join(errWrite, err) // nothing can be said any more
		c.hangUp("TLS handshake failed")
		return false
	}
	c.conn, c.secure = tc, true
	c.card.Change(func(s *presence.State) { s.TLS = tls.VersionName(tc.ConnectionState().Version) })
	c.in.reset(tc)
	c.out.conn = tc
	return true
}

// binding is the tls-exporter value of RFC 9266; nil without TLS 1.3, where it is not safe to use without more.
func (c *session) binding() []byte {
	tc, ok := c.conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := tc.ConnectionState()
	if state.Version < tls.VersionTLS13 {
		return nil
	}
	value, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return nil
	}
	return value
}

// mayLogin tells whether a password may come over this connection.
func (c *session) mayLogin() bool { return c.secure || c.svc.plaintext.Contain(c.client) }

// call bounds a call of another role.
func (c *session) call() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.ctx, c.svc.cfg.CallTimeout)
}
