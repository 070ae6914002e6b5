package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// errTLS is a STARTTLS that failed after the peer offered it.
var errTLS = errors.New("STARTTLS failed")

// connect opens a connection to one address of a host. STARTTLS is used where it is offered, without asking who the peer is
// (RFC 7435: some protection for most); where it then fails, once more without.
func (s *Service) connect(ctx context.Context, h host) (*peer, error) {
	p, err := s.open(ctx, h, true)
	if errors.Is(err, errTLS) && ctx.Err() == nil {
		s.metrics.plaintext.Inc()
		s.deps.Log.WarnContext(ctx, "continuing without TLS", "host", h.String(), "error", err)
		p, err = s.open(ctx, h, false)
	}
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return p, err
}

// open connects and speaks the beginning of the dialogue, up to where MAIL may follow. The end of ctx ends it.
//
// QUIRK: go-smtp 0.25 says "EHLO localhost" before STARTTLS, which strict servers refuse; it reads keywords of extensions in
// upper case only, and replies without end. So we say it ourselves, and the library reads again what we have read.
func (s *Service) open(ctx context.Context, h host, useTLS bool) (_ *peer, err error) {
	dial, cancel := context.WithTimeout(ctx, s.cfg.Timeouts.Connect)
	defer cancel()
	raw, err := s.deps.Dial.DialContext(dial, "tcp", h.address)
	if err != nil {
		return nil, &stepError{connecting, h.String(), err}
	}
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	p := &peer{host: h, raw: raw}
	d := s.newDialogue(h, raw)
	if err := d.greeting(); err != nil {
		return nil, err
	}
	if p.ext, err = d.hello(s.cfg.Hostname); err != nil {
		return nil, err
	}
	if useTLS && p.has("STARTTLS") {
		secured, err := d.startTLS(ctx)
		if err != nil {
			return nil, err
		}
		p.tls = tls.VersionName(secured.ConnectionState().Version)
		d = s.newDialogue(h, secured)
		// What was said in plaintext is forgotten (RFC 3207 §4.2).
		if p.ext, err = d.hello(s.cfg.Hostname); err != nil {
			return nil, err
		}
	}
	if d.text.R.Buffered() > 0 {
		return nil, &stepError{"EHLO", h.String(), textproto.ProtocolError("more than one reply")}
	}
	d.conn.ahead, d.conn.swallow = replay(p.ext), true
	if err := raw.SetDeadline(time.Time{}); err != nil {
		return nil, &stepError{"EHLO", h.String(), err}
	}
	p.Client = smtp.NewClient(d.conn)
	p.CommandTimeout = s.cfg.Timeouts.Command
	p.SubmissionTimeout = s.cfg.Timeouts.Final
	if err := p.Hello(s.cfg.Hostname); err != nil {
		return nil, &stepError{"EHLO", h.String(), err}
	}
	return p, nil
}

// dialogue is the beginning of one, before the library takes over.
type dialogue struct {
	host host
	conn *guard
	text *textproto.Conn
	each time.Duration
}

func (s *Service) newDialogue(h host, conn net.Conn) *dialogue {
	g := newGuard(conn, s.cfg.Timeouts.Data)
	return &dialogue{host: h, conn: g, text: textproto.NewConn(g), each: s.cfg.Timeouts.Command}
}

// ask says a line, if there is one, and reads a reply of the kind that is wanted: 220, or 2 for 2yz.
func (d *dialogue) ask(step string, want int, line string) (string, error) {
	d.conn.SetDeadline(time.Now().Add(d.each))
	if line != "" {
		if err := d.text.PrintfLine("%s", line); err != nil {
			return "", &stepError{step, d.host.String(), err}
		}
	}
	_, message, err := d.text.ReadResponse(want)
	if err != nil {
		return "", &stepError{step, d.host.String(), asSMTP(err)}
	}
	return message, nil
}

func (d *dialogue) greeting() error {
	_, err := d.ask("greeting", 220, "")
	return err
}

// hello says EHLO, or HELO where that is refused (RFC 5321 §3.2), and tells the extensions, keywords in upper case.
func (d *dialogue) hello(name string) (map[string]string, error) {
	message, err := d.ask("EHLO", 250, "EHLO "+name)
	if word := wordOf(err); word != nil && word.Code/100 == 5 {
		_, err := d.ask("HELO", 250, "HELO "+name)
		return map[string]string{}, err
	}
	if err != nil {
		return nil, err
	}
	ext := map[string]string{}
	for i, line := range strings.Split(message, "\n") {
		if keyword, params, _ := strings.Cut(strings.TrimSpace(line), " "); i > 0 && keyword != "" {
			ext[strings.ToUpper(keyword)] = strings.TrimSpace(params)
		}
	}
	return ext, nil
}

func (d *dialogue) startTLS(ctx context.Context) (*tls.Conn, error) {
	if _, err := d.ask("STARTTLS", 220, "STARTTLS"); err != nil {
		return nil, fmt.Errorf("%w: %w", errTLS, err)
	}
	fail := func(err error) error {
		return fmt.Errorf("%w: %w", errTLS, &stepError{"STARTTLS", d.host.String(), err})
	}
	if d.text.R.Buffered() > 0 { // what came in plaintext behind the reply is not the peer's (RFC 3207 §4.2)
		return nil, fail(textproto.ProtocolError("plaintext behind the reply"))
	}
	// Opportunistic: without DANE or MTA-STS nothing says which certificate to expect, and mail goes out in any case.
	secured := tls.Client(d.conn.Conn, &tls.Config{ServerName: d.host.name, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	d.conn.SetDeadline(time.Now().Add(d.each))
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fail(err)
	}
	return secured, nil
}

// asSMTP gives a refusal the type that the rest of the dialogue's have.
func asSMTP(err error) error {
	var refused *textproto.Error
	if !errors.As(err, &refused) {
		return err
	}
	e := &smtp.SMTPError{Code: refused.Code, EnhancedCode: smtp.NoEnhancedCode, Message: refused.Msg}
	var c smtp.EnhancedCode
	code, rest, _ := strings.Cut(refused.Msg, " ")
	if n, _ := fmt.Sscanf(code, "%d.%d.%d", &c[0], &c[1], &c[2]); n == 3 {
		e.EnhancedCode, e.Message = c, rest
	}
	return e
}

// maxKeyword bounds one line of an EHLO reply that the library is to read again: it takes 2,000 octets.
const maxKeyword = 1000

// replay writes a greeting and a reply to EHLO with the extensions that the library knows.
func replay(ext map[string]string) []byte {
	var b bytes.Buffer
	b.WriteString("220 ready\r\n250-ready\r\n")
	for _, keyword := range []string{"8BITMIME", "DSN", "SIZE", "SMTPUTF8"} {
		if params, ok := ext[keyword]; ok && len(params) < maxKeyword {
			b.WriteString("250-" + strings.TrimSpace(keyword+" "+params) + "\r\n")
		}
	}
	b.WriteString("250 ENHANCEDSTATUSCODES\r\n")
	return b.Bytes()
}
