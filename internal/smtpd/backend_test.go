package smtpd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/smtpd"
)

// backend accepts nearly everything and remembers it.
type backend struct {
	mu       sync.Mutex
	messages []received
	aborted  int
	batches  []int // sizes of the calls of Rcpt
	sessions int
	closed   int
	// onCommit, where it is set, is called by Commit before it answers.
	onCommit func()
	// each, where it is set, is the LMTP outcome.
	each smtpd.Replies
}

type received struct {
	from     envelope.ReversePath
	opts     smtp.MailOptions
	rcpts    []smtpd.Rcpt
	body     string
	protocol string
	helo     string
	user     string
}

func (b *backend) NewSession(_ context.Context, c *smtpd.Conn) (smtpd.Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions++
	return &session{b: b, c: c}, nil
}

func (b *backend) all() []received {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.messages)
}

type session struct {
	b    *backend
	c    *smtpd.Conn
	user string
	cur  received
}

func (s *session) AuthMechanisms() []string { return []string{"PLAIN", "LOGIN", "X-FINAL"} }

func (s *session) Auth(_ context.Context, mechanism string) (smtpd.Mechanism, error) {
	return &mechanisms{s: s, name: mechanism}, nil
}

func (s *session) Mail(_ context.Context, from envelope.ReversePath, opts *smtp.MailOptions) error {
	if strings.HasPrefix(string(from), "refused@") {
		return reply.Permanent(550, "5.7.1", "not you")
	}
	s.cur = received{from: from, opts: *opts, protocol: s.c.Protocol(opts.UTF8), helo: s.c.Helo(), user: s.user}
	return nil
}

func (s *session) Rcpt(_ context.Context, rcpts []smtpd.Rcpt) {
	s.b.mu.Lock()
	s.b.batches = append(s.b.batches, len(rcpts))
	s.b.mu.Unlock()
	for i := range rcpts {
		switch rcpts[i].To.LocalPart() {
		case "unknown":
			rcpts[i].Err = reply.Permanent(550, "5.1.1", "no such user")
		case "later":
			rcpts[i].Err = errors.New("database /var/lib/secret is away")
		case "library":
			rcpts[i].Err = &smtp.SMTPError{Code: 551, EnhancedCode: smtp.EnhancedCode{5, 1, 6}, Message: "moved\r\n250 gotcha"}
		case "panic":
			panic("a fault of ours")
		default:
			s.cur.rcpts = append(s.cur.rcpts, rcpts[i])
		}
	}
}

func (s *session) Data(context.Context) (smtpd.Message, error) {
	if s.cur.from == "nodata@example.org" {
		return nil, reply.Transient(451, "4.3.0", "no room for a message now")
	}
	return &message{s: s}, nil
}

func (s *session) Reset() { s.cur = received{} }
func (s *session) Close() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.closed++
}

type message struct {
	s    *session
	body strings.Builder
}

func (m *message) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "stop it") {
		return 0, reply.Permanent(550, "5.7.1", "stopped")
	}
	if strings.Contains(string(p), "panic now") {
		panic("in the middle of a message")
	}
	return m.body.Write(p)
}

func (m *message) Commit(context.Context) (string, error) {
	b := m.s.b
	if b.onCommit != nil {
		b.onCommit()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.Contains(m.body.String(), "reject me") {
		return "", reply.Permanent(550, "5.7.1", "rejected")
	}
	cur := m.s.cur
	cur.body = m.body.String()
	b.messages = append(b.messages, cur)
	if b.each != nil {
		return "stored", b.each
	}
	return "stored", nil
}

func (m *message) Abort() {
	m.s.b.mu.Lock()
	defer m.s.b.mu.Unlock()
	m.s.b.aborted++
}

// mechanisms knows alice, whose password is "secret".
type mechanisms struct {
	s    *session
	name string
	step int
	user string
}

func (m *mechanisms) Next(response []byte) ([]byte, bool, error) {
	m.step++
	fail := reply.Permanent(535, "5.7.8", "authentication failed")
	switch m.name {
	case "PLAIN":
		if response == nil {
			return nil, false, nil
		}
		if string(response) != "\x00alice\x00secret" {
			return nil, false, fail
		}
	case "LOGIN":
		switch {
		case response == nil:
			return []byte("Username:"), false, nil
		case m.user == "":
			m.user = string(response)
			return []byte("Password:"), false, nil
		case m.user != "alice" || string(response) != "secret":
			return nil, false, fail
		}
	case "X-FINAL":
		if response == nil {
			return nil, false, nil
		}
		m.s.user = "alice"
		return []byte("v=signature"), true, nil
	}
	m.s.user = "alice"
	return nil, true, nil
}

// quiet throws logs away.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.example.org"}, DNSNames: []string{"mx.example.org"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// listen serves cfg on loopback until the test's end, and returns the address.
func listen(t testing.TB, cfg smtpd.Config, b smtpd.Backend, implicitTLS bool) (*smtpd.Server, string) {
	t.Helper()
	if cfg.Hostname == "" {
		cfg.Hostname = "mx.example.org"
	}
	s, err := smtpd.New(cfg, b, quiet())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- s.Run(ctx, []front.Socket{{Listener: l, ImplicitTLS: implicitTLS}}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return s, l.Addr().String()
}
