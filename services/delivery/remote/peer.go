package remote

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// peer is a connection to another server, greeted and ready for MAIL.
type peer struct {
	*smtp.Client
	address string
	host    string
	tls     string // "TLS1.3", empty without
	sent    int
	timer   *time.Timer // guarded by pool.mu
}

// relay names the peer in logs, DSNs and the ledger.
func (p *peer) relay() string {
	if p.tls == "" {
		return fmt.Sprintf("%s[%s]", p.host, p.address)
	}
	return fmt.Sprintf("%s[%s] %s", p.host, p.address, p.tls)
}

// quitTime is how long we wait for the reply to QUIT: it changes nothing.
const quitTime = 2 * time.Second

func (p *peer) quit() {
	p.CommandTimeout = quitTime
	if p.Quit() != nil {
		p.Close()
	}
}

// errTLS is a STARTTLS that failed after the peer offered it.
var errTLS = errors.New("STARTTLS failed")

// connect opens a connection to one address of host. STARTTLS is used where it is offered, without asking who the peer is
// (RFC 7435: some protection for most); where it then fails, once more without.
func (s *Service) connect(ctx context.Context, host, address string) (*peer, error) {
	p, err := s.open(ctx, host, address, true)
	if errors.Is(err, errTLS) {
		s.metrics.plaintext.Inc()
		s.deps.Log.WarnContext(ctx, "continuing without TLS", "host", host, "error", err)
		p, err = s.open(ctx, host, address, false)
	}
	return p, err
}

func (s *Service) open(ctx context.Context, host, address string, useTLS bool) (*peer, error) {
	dialCtx, cancel := context.WithTimeout(ctx, s.cfg.Timeouts.Connect)
	defer cancel()
	conn, err := s.deps.Dial.DialContext(dialCtx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s[%s]: %w", host, address, err)
	}
	wire := conn
	defer context.AfterFunc(ctx, func() { wire.Close() })()
	p := &peer{address: address, host: host}
	if useTLS {
		conn, err = s.secure(ctx, conn, p)
		if err != nil {
			return nil, fmt.Errorf("%s[%s]: %w", host, address, err)
		}
	}
	p.Client = smtp.NewClient(writeTimeout{conn, s.cfg.Timeouts.Data})
	p.CommandTimeout = s.cfg.Timeouts.Command
	p.SubmissionTimeout = s.cfg.Timeouts.Final
	if err := p.Hello(s.cfg.Hostname); err != nil {
		p.Close()
		return nil, fmt.Errorf("%s[%s]: EHLO: %w", host, address, err)
	}
	return p, nil
}

// secure speaks the beginning of the dialogue up to STARTTLS and returns a connection that begins again with a greeting.
//
// QUIRK: go-smtp 0.25 says "EHLO localhost" before STARTTLS, which strict servers refuse; so we say it ourselves.
func (s *Service) secure(ctx context.Context, conn net.Conn, p *peer) (net.Conn, error) {
	conn.SetDeadline(s.deps.Now().Add(s.cfg.Timeouts.Command))
	text := textproto.NewConn(conn)
	fail := func(step string, err error) (net.Conn, error) {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", step, asSMTP(err))
	}
	if _, _, err := text.ReadResponse(220); err != nil {
		return fail("greeting", err)
	}
	code, ext, err := ask(text, 0, "EHLO %s", s.cfg.Hostname)
	if err != nil {
		return fail("EHLO", err)
	}
	if code != 250 || !offers(ext, "STARTTLS") {
		conn.SetDeadline(time.Time{})
		return &greeted{Conn: conn, r: io.MultiReader(strings.NewReader("220 ready\r\n"), text.R)}, nil
	}
	if _, _, err := ask(text, 220, "STARTTLS"); err != nil {
		return fail("STARTTLS", errors.Join(errTLS, err))
	}
	if text.R.Buffered() > 0 { // what came in plaintext behind the reply is not the peer's (RFC 3207 §4.2)
		return fail("STARTTLS", errors.Join(errTLS, errors.New("plaintext behind the reply")))
	}
	// Opportunistic: without DANE or MTA-STS nothing says which certificate to expect, and mail goes out in any case.
	secured := tls.Client(conn, &tls.Config{ServerName: p.host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	if err := secured.HandshakeContext(ctx); err != nil {
		return fail("STARTTLS", errors.Join(errTLS, err))
	}
	conn.SetDeadline(time.Time{})
	p.tls = tls.VersionName(secured.ConnectionState().Version)
	return &greeted{Conn: secured, r: io.MultiReader(strings.NewReader("220 ready\r\n"), secured)}, nil
}

func ask(text *textproto.Conn, want int, format string, args ...any) (int, string, error) {
	if err := text.PrintfLine(format, args...); err != nil {
		return 0, "", err
	}
	return text.ReadResponse(want)
}

// offers tells whether a reply to EHLO names an extension.
func offers(ehlo, name string) bool {
	lines := bufio.NewScanner(bytes.NewReader([]byte(ehlo)))
	for lines.Scan() {
		word, _, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		if strings.EqualFold(word, name) {
			return true
		}
	}
	return false
}

// asSMTP gives a textproto refusal the type that the rest of the dialogue's have.
func asSMTP(err error) error {
	var refused *textproto.Error
	if errors.As(err, &refused) && !errors.Is(err, errTLS) {
		e := &smtp.SMTPError{Code: refused.Code, EnhancedCode: smtp.NoEnhancedCode, Message: refused.Msg}
		var a, b, c int
		if n, _ := fmt.Sscanf(refused.Msg, "%d.%d.%d ", &a, &b, &c); n == 3 {
			e.EnhancedCode = smtp.EnhancedCode{a, b, c}
			_, e.Message, _ = strings.Cut(refused.Msg, " ")
		}
		return e
	}
	return err
}

// greeted is a connection whose first line is ours.
type greeted struct {
	net.Conn
	r io.Reader
}

func (g *greeted) Read(b []byte) (int, error) { return g.r.Read(b) }

// writeTimeout bounds each write, so that a peer that stops reading in the middle of a message cannot hold us for ever.
type writeTimeout struct {
	net.Conn
	each time.Duration
}

func (w writeTimeout) Write(b []byte) (int, error) {
	if err := w.Conn.SetWriteDeadline(time.Now().Add(w.each)); err != nil {
		return 0, err
	}
	return w.Conn.Write(b)
}
