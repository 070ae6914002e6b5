package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// Conn is one connection. Its exported methods are for the Session, from the connection's own goroutine.
type Conn struct {
	server  *Server
	raw     net.Conn // as accepted; never changes, so that other goroutines may set its deadline or close it
	conn    net.Conn // raw, or the TLS connection over it
	id      string
	peer    front.Peer
	client  string // its address as text
	tls     *tls.ConnectionState
	log     *slog.Logger
	ctx     context.Context // ends with the connection, or when a drain runs out of patience
	cancel  context.CancelFunc
	session Session

	in       reader
	out      []byte
	answered int // how much of out are replies to whole commands
	writeErr error

	// The dialogue's state.
	helo          string
	esmtp         bool
	authenticated bool
	closing       bool
	endReason     string
	errors        int
	refused       int
	authFailures  int
	idleCommands  int
	messages      int

	// The transaction's state.
	mail     bool
	utf8     bool
	declared int64 // SIZE of MAIL
	rcpts    int
	deadline time.Time // of the transaction; zero outside
	batch    []Rcpt
	chunks   chunkState

	// lineDeadline is when the command that is awaited must have arrived.
	lineDeadline time.Time

	cut    atomic.Bool // see cutOff
	mu     sync.Mutex
	idle   bool        // guarded by mu: waits for a command, so that a drain may wake it.
	lastly *time.Timer // guarded by mu: closes raw after cutOff; nil before.
	read   readKind
}

// readKind tells beforeRead what is awaited.
type readKind uint8

const (
	readCommand readKind = iota
	readBody
)

// errDrain ends connections when the server stops.
var errDrain = errors.New("server is stopping")

// errCut ends those whose drain has run out of patience.
var errCut = errors.New("server stops now")

// ID names the connection in logs and traces.
func (c *Conn) ID() string { return c.id }

// RemoteAddr is the peer's IP address; the zero Addr for a connection that has none.
func (c *Conn) RemoteAddr() netip.Addr { return c.peer.Client }

// Client is RemoteAddr as text, without a zone; empty for none.
func (c *Conn) Client() string { return c.client }

// Helo is the argument of EHLO, HELO or LHLO: printable ASCII, not verified.
func (c *Conn) Helo() string { return c.helo }

// LMTP tells whether the peer speaks LMTP.
func (c *Conn) LMTP() bool { return c.server.cfg.LMTP }

// TLS is nil on plaintext connections.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

// Protocol is the "with" keyword of a Received field: RFC 3848, RFC 6531 §4.3.
func (c *Conn) Protocol(smtputf8 bool) string {
	switch lmtp := c.server.cfg.LMTP; {
	case lmtp && smtputf8:
		return "UTF8LMTP" + c.protocolSuffix()
	case lmtp:
		return "LMTP" + c.protocolSuffix()
	case smtputf8:
		return "UTF8SMTP" + c.protocolSuffix()
	case !c.esmtp:
		return "SMTP"
	}
	return "ESMTP" + c.protocolSuffix()
}

func (c *Conn) protocolSuffix() string {
	switch {
	case c.tls != nil && c.authenticated:
		return "SA"
	case c.tls != nil:
		return "S"
	case c.authenticated:
		return "A"
	}
	return ""
}

// serve runs the dialogue to its end. It owns the connection.
func (c *Conn) serve(implicitTLS bool) {
	defer c.close()
	defer c.recover()
	if implicitTLS {
		if err := c.handshake(); err != nil {
			c.end("TLS handshake failed")
			return
		}
	}
	session, err := c.server.backend.NewSession(c.ctx, c)
	if err != nil {
		c.refuse(err)
		c.end("refused by policy")
		return
	}
	c.session = session
	greeting := " ESMTP mailfarm"
	if c.server.cfg.LMTP {
		greeting = " LMTP mailfarm"
	}
	c.reply(220, "", c.server.cfg.Hostname+greeting)
	for !c.closing {
		c.step()
	}
}

// step reads one command and answers it.
func (c *Conn) step() {
	c.read = readCommand
	c.lineDeadline = time.Time{}
	c.answered = len(c.out)
	line, err := c.in.line(maxLine)
	switch {
	case errors.Is(err, errLongLine):
		c.trace("received", []byte("(over-long line)"))
		c.runBatch()
		c.mistake(500, "5.5.2", "line too long")
	case err != nil:
		c.failed(err)
	default:
		c.command(line)
	}
}

// beforeRead flushes and sets the deadline of the next read.
func (c *Conn) beforeRead() error {
	if err := c.flush(); err != nil {
		return err
	}
	c.setIdle(false)
	now, t := time.Now(), &c.server.cfg.Timeouts
	if c.read == readBody {
		return c.setReadDeadline(now.Add(t.Data))
	}
	if c.lineDeadline.IsZero() {
		c.lineDeadline = now.Add(t.Command) // For the whole line, however slowly it comes.
	}
	if c.chunks.msg != nil {
		return c.setReadDeadline(c.lineDeadline) // Its message is arriving: a drain lets it.
	}
	c.setIdle(true)
	if err := c.setReadDeadline(c.lineDeadline); err != nil {
		return err
	}
	// Behind the deadline: a drain either is seen here, or comes later and moves the deadline.
	if c.server.front.Draining() {
		return errDrain
	}
	return nil
}

// setReadDeadline is for the next read, which the transaction's deadline bounds too.
func (c *Conn) setReadDeadline(t time.Time) error {
	if !c.deadline.IsZero() && c.deadline.Before(t) {
		t = c.deadline
	}
	if err := c.conn.SetReadDeadline(t); err != nil {
		return err
	}
	// Behind the deadline: a cut either is seen here, or comes later and moves the deadline.
	if c.cut.Load() {
		return errCut
	}
	return nil
}

func (c *Conn) setIdle(idle bool) {
	c.mu.Lock()
	c.idle = idle
	c.mu.Unlock()
}

// wake interrupts the wait for a command; other reads go on.
func (c *Conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle {
		c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// failed ends the connection after an error of reading or writing.
func (c *Conn) failed(err error) {
	switch {
	case errors.Is(err, errWrite):
		c.end("write failed")
	case c.cut.Load() && (errors.Is(err, errCut) || errors.Is(err, os.ErrDeadlineExceeded)):
		c.reply(421, "4.3.2", c.server.cfg.Hostname+" is stopping, closing transmission channel")
		c.end("cut off")
	case errors.Is(err, errDrain), errors.Is(err, os.ErrDeadlineExceeded) && c.read == readCommand && c.server.front.Draining():
		c.reply(421, "4.3.2", c.server.cfg.Hostname+" is stopping, try again")
		c.end("drained")
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.reply(421, "4.4.2", "timeout")
		c.end("timeout")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		c.end("connection lost")
	default:
		c.end("connection lost")
		c.log.LogAttrs(c.ctx, slog.LevelDebug, "connection failed", obs.Error(err))
	}
}
