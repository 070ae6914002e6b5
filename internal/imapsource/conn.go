package imapsource

import (
	"bufio"
	"compress/flate"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// How a connection is secured.
const (
	TLSImplicit = "implicit"
	TLSStart    = "starttls"
	TLSNone     = "none"
)

// Server says how to reach one.
type Server struct {
	Host string
	Port int
	// Security is implicit, starttls or none.
	Security string
	// TLS has the authorities that are trusted.
	TLS *tls.Config
	// Compress asks for COMPRESS=DEFLATE (RFC 4978) where it is offered.
	Compress bool
	// Timeout bounds the wait for each piece of an answer. Default 5m.
	Timeout time.Duration
	// Rate, where it is set, bounds the octets that are read; several connections may share it.
	Rate *rate.Limiter
}

// Refused is an answer NO or BAD: the connection goes on.
type Refused struct {
	Command, Status, Code, Text string
}

func (r *Refused) Error() string {
	return fmt.Sprintf("%s: the server said %s %s", r.Command, r.Status, r.Text)
}

// IsRefused tells of errors after which the connection can be used.
func IsRefused(err error) bool {
	var r *Refused
	return errors.As(err, &r)
}

// Conn is a connection. It is for one goroutine.
type Conn struct {
	server Server
	raw    *metered
	nc     net.Conn
	r      *bufio.Reader
	w      *bufio.Writer
	flush  func() error
	stop   func() bool
	tag    int
	caps   map[string]bool
	// uidLast tells that FETCH tells UIDs behind bodies.
	uidLast bool
}

// metered is the socket: every read has a deadline and counts towards the rate.
type metered struct {
	net.Conn
	ctx     context.Context
	timeout time.Duration
	rate    *rate.Limiter
}

func (m *metered) Read(p []byte) (int, error) {
	if m.rate != nil {
		p = p[:min(len(p), m.rate.Burst())]
	}
	if err := m.SetReadDeadline(time.Now().Add(m.timeout)); err != nil {
		return 0, err
	}
	n, err := m.Conn.Read(p)
	if n > 0 && m.rate != nil {
		if waited := m.rate.WaitN(m.ctx, n); waited != nil && err == nil {
			err = waited
		}
	}
	return n, err
}

func (m *metered) Write(p []byte) (int, error) {
	if err := m.SetWriteDeadline(time.Now().Add(m.timeout)); err != nil {
		return 0, err
	}
	return m.Conn.Write(p)
}

// dialTime bounds the way to a server that does not answer.
const dialTime = 30 * time.Second

// Dial connects and secures the connection. It ends with ctx, or with Close.
func Dial(ctx context.Context, s Server) (*Conn, error) {
	if s.Timeout == 0 {
		s.Timeout = 5 * time.Minute
	}
	at := net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	d := net.Dialer{Timeout: dialTime}
	nc, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	c := &Conn{server: s, raw: &metered{nc, ctx, s.Timeout, s.Rate}}
	c.stop = context.AfterFunc(ctx, func() { nc.Close() })
	c.use(c.raw)
	if err := c.begin(); err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to %s: %w", at, err)
	}
	return c, nil
}

func (c *Conn) use(nc net.Conn) {
	c.nc, c.r, c.w = nc, bufio.NewReaderSize(nc, 64<<10), bufio.NewWriter(nc)
	c.flush = c.w.Flush
}

// begin reads the greeting, behind TLS or before it.
func (c *Conn) begin() error {
	if c.server.Security == TLSImplicit {
		if err := c.secure(); err != nil {
			return err
		}
	}
	r, err := c.response(nil)
	switch {
	case err != nil:
		return fmt.Errorf("read greeting: %w", err)
	case r.name == "PREAUTH" && c.server.Security == TLSStart: // RFC 3501 §7.1.4: there is no STARTTLS any more
		return errors.New("the server greets with PREAUTH, and TLS was asked for")
	case r.name != "OK" && r.name != "PREAUTH":
		return fmt.Errorf("the server greets with %s %s", r.name, r.text)
	}
	if c.server.Security == TLSStart {
		if err := c.command("STARTTLS", nil); err != nil {
			return err
		}
		if c.r.Buffered() > 0 {
			return errors.New("the server said more behind STARTTLS than it may")
		}
		if err := c.secure(); err != nil {
			return err
		}
	}
	return c.capability()
}

func (c *Conn) secure() error {
	cfg := c.server.TLS.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = c.server.Host
	}
	t := tls.Client(c.raw, cfg)
	ctx, cancel := context.WithTimeout(c.raw.ctx, dialTime)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.use(t)
	return nil
}

// capability asks what the server can do.
func (c *Conn) capability() error {
	c.caps = map[string]bool{}
	return c.command("CAPABILITY", func(r *response) error {
		if r.name == "CAPABILITY" {
			for _, v := range r.values {
				c.caps[strings.ToUpper(v.text)] = true
			}
		}
		return nil
	})
}

// Has tells whether the server offers an extension.
func (c *Conn) Has(name string) bool { return c.caps[name] }

// ModSeqs tells whether changes can be asked for (RFC 7162).
func (c *Conn) ModSeqs() bool { return c.Has("CONDSTORE") || c.Has("QRESYNC") }

// compress turns compression on where it is offered; a server that refuses goes on without.
func (c *Conn) compress() error {
	if !c.server.Compress || !c.Has("COMPRESS=DEFLATE") {
		return nil
	}
	if err := c.command("COMPRESS DEFLATE", nil); IsRefused(err) {
		return nil
	} else if err != nil {
		return err
	}
	out, err := flate.NewWriter(c.nc, flate.DefaultCompression)
	if err != nil {
		return err
	}
	c.r = bufio.NewReaderSize(flate.NewReader(c.r), 64<<10)
	c.w = bufio.NewWriter(out)
	c.flush = func() error {
		if err := c.w.Flush(); err != nil {
			return err
		}
		return out.Flush()
	}
	return nil
}

// Close ends the connection without a word: nothing is changed there.
func (c *Conn) Close() error {
	c.stop()
	return c.raw.Conn.Close()
}

// Logout says good-bye and closes.
func (c *Conn) Logout() {
	c.command("LOGOUT", nil)
	c.Close()
}

// send writes a command and returns its tag.
func (c *Conn) send(line string) (string, error) {
	c.tag++
	tag := "m" + strconv.Itoa(c.tag)
	if _, err := c.w.WriteString(tag + " " + line + "\r\n"); err != nil {
		return "", err
	}
	return tag, nil
}

// command sends one and gives what is said until it is done to on.
func (c *Conn) command(line string, on func(*response) error) error {
	tag, err := c.send(line)
	if err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.wait(tag, line, on, nil)
}

// wait reads until a command is done. An error of on or of bodies is told once the command is done.
func (c *Conn) wait(tag, line string, on func(*response) error, bodies bodyFunc) error {
	var failed error
	for {
		r, err := c.response(bodies)
		if err != nil {
			return err
		}
		if r.failed != nil && failed == nil {
			failed = r.failed
		}
		switch {
		case r.tag == tag:
			if r.name != "OK" {
				return &Refused{verb(line), r.name, r.code, r.text}
			}
			return failed
		case r.tag == "*" && r.name == "BYE" && !strings.HasPrefix(line, "LOGOUT"):
			return fmt.Errorf("the server hung up: %s: %w", r.text, io.ErrUnexpectedEOF)
		case r.tag == "+":
			return errors.New("the server asks for more of a command that was complete")
		case on != nil && failed == nil:
			failed = on(r)
		}
	}
}

// verb is what a command is called in errors: no argument, which may be secret.
func verb(line string) string {
	words := strings.SplitN(line, " ", 3)
	if len(words) > 1 && (words[0] == "UID" || words[0] == "AUTHENTICATE") {
		return words[0] + " " + words[1]
	}
	return words[0]
}
