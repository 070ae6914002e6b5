package ingress_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/smtpd"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	"github.com/mailfarm/mailfarm/services/ingress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// directory has alice and an alias at example.org, and the domain catch.example, which takes everything.
type directory struct {
	mu    sync.Mutex
	away  bool
	calls [][]string
}

func (d *directory) Resolve(_ context.Context, in *directoryv1.ResolveRequest, _ ...grpc.CallOption) (*directoryv1.ResolveResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, in.GetAddresses())
	if d.away {
		return nil, errors.New("dial tcp 10.0.0.1: connection refused")
	}
	out := &directoryv1.ResolveResponse{}
	for _, a := range in.GetAddresses() {
		path := envelope.ForwardPath(a)
		kind := directoryv1.Kind_KIND_REMOTE
		switch path.Domain() {
		case "":
			kind = directoryv1.Kind_KIND_ALIAS // postmaster
		case "catch.example":
			kind = directoryv1.Kind_KIND_ALIAS
		case "example.org":
			switch strings.ToLower(path.LocalPart()) {
			case "alice":
				kind = directoryv1.Kind_KIND_ACCOUNT
			case "postmaster":
				kind = directoryv1.Kind_KIND_ALIAS
			default:
				kind = directoryv1.Kind_KIND_UNKNOWN
			}
		}
		out.Resolutions = append(out.Resolutions, &directoryv1.Resolution{Kind: kind})
	}
	return out, nil
}

func (d *directory) set(away bool) {
	d.mu.Lock()
	d.away = away
	d.mu.Unlock()
}

type busRecorder struct {
	mu  sync.Mutex
	got []*mailv1.Accepted
}

func (b *busRecorder) PublishAll(_ context.Context, _ bus.Subject, _ []uint64, payloads [][]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range payloads {
		msg := &mailv1.Accepted{}
		if err := proto.Unmarshal(p, msg); err != nil {
			return err
		}
		b.got = append(b.got, msg)
	}
	return nil
}

type world struct {
	directory  *directory
	bus        *busRecorder
	store      blob.Store
	limits     limits
	smtp, lmtp string
	stop       func()
}

// limits refuse messages once told to.
type limits struct {
	reached atomic.Bool
	asked   atomic.Int64
}

func (l *limits) Message(client netip.Addr) bool {
	l.asked.Add(1)
	return client.IsLoopback() && !l.reached.Load()
}

func start(t *testing.T, cfg ingress.Config) *world {
	t.Helper()
	store, err := dir.Open(t.Context(), t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{directory: &directory{}, bus: &busRecorder{}, store: store}
	smtpListener, lmtpListener := listen(t), listen(t)
	w.smtp, w.lmtp = smtpListener.Addr().String(), lmtpListener.Addr().String()
	cfg.Hostname = "mx.example.org"
	service, err := ingress.New(cfg, ingress.Deps{
		Deps: acceptance.Deps{Blobs: store, Bus: w.bus}, Directory: w.directory, TLS: serverTLS(), Limits: &w.limits,
		SMTP: []front.Socket{{Listener: smtpListener}}, LMTP: []front.Socket{{Listener: lmtpListener}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := store.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var serverTLS = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

// talk is a connection that sends lines and reads replies.
type talk struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, addr string) *talk {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	c := &talk{t, conn, bufio.NewReader(conn)}
	c.reply()
	return c
}

// reply reads one reply, its last line.
func (c *talk) reply() string {
	c.t.Helper()
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			c.t.Fatalf("read: %v", err)
		}
		if len(line) > 3 && line[3] == ' ' {
			return strings.TrimRight(line, "\r\n")
		}
	}
}

func (c *talk) ask(line string) string {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(line + "\r\n")); err != nil {
		c.t.Fatal(err)
	}
	return c.reply()
}

func (c *talk) expect(line, want string) {
	c.t.Helper()
	if got := c.ask(line); !strings.HasPrefix(got, want) {
		c.t.Fatalf("%q: got %q, want %q", line, got, want)
	}
}

// TestRelayTricks: nothing but our own users is taken, however the address is dressed up.
func TestRelayTricks(t *testing.T) {
	w := start(t, ingress.Config{})
	c := dial(t, w.smtp)
	c.expect("EHLO spammer.example", "250")
	c.expect("MAIL FROM:<spam@example.org>", "250") // Our own domain as a sender gives no rights.
	for _, row := range []struct{ name, path, want string }{
		{"another domain", "<victim@other.example>", "550 5.7.1"},
		{"percent hack", "<victim%other.example@example.org>", "550 5.1.1"},
		{"percent hack without us", "<victim%other.example@other2.example>", "550 5.7.1"},
		{"two percents", "<victim%other.example%third.example@example.org>", "550 5.1.1"},
		{"bang path", "<other.example!victim@example.org>", "550 5.1.1"},
		{"bang path alone", "<other.example!victim>", "501"},
		{"bang and percent", "<example.org!victim%other.example@example.org>", "550 5.1.1"},
		{"source route through us", "<@example.org:victim@other.example>", "550 5.7.1"},
		{"source route of two", "<@example.org,@mx.example.org:victim@other.example>", "550 5.7.1"},
		{"source route to us", "<@other.example:victim@example.org>", "550 5.1.1"},
		{"quoted address", `<"victim@other.example"@example.org>`, "550 5.1.1"},
		{"quoted address alone", `<"victim@other.example">`, "501"},
		{"quoted source route", `<"@other.example:victim"@example.org>`, "550 5.1.1"},
		{"quoted percent", `<"victim%other.example"@example.org>`, "550 5.1.1"},
		{"two ats", "<victim@other.example@example.org>", "501"},
		{"trailing dot", "<victim@other.example.>", "501"},
		{"our domain with a trailing dot", "<victim@example.org.>", "501"},
		{"address literal", "<victim@[192.0.2.1]>", "550 5.7.1"},
		{"our own literal", "<victim@[127.0.0.1]>", "550 5.7.1"},
		{"IPv6 literal", "<victim@[IPv6:::1]>", "550 5.7.1"},
		{"local user at a literal", "<alice@[127.0.0.1]>", "550 5.7.1"},
		{"postmaster elsewhere", "<postmaster@other.example>", "550 5.7.1"},
		{"postmaster at a literal", "<postmaster@[192.0.2.1]>", "550 5.7.1"},
		{"no domain", "<victim>", "501"},
		{"upper case", "<VICTIM@OTHER.EXAMPLE>", "550 5.7.1"},
		{"subdomain of ours", "<alice@sub.example.org>", "550 5.7.1"},
		{"our domain as a prefix", "<alice@example.org.other.example>", "550 5.7.1"},
		{"backslash", `<"victim\@other.example"@example.org>`, "550 5.1.1"},
		{"no brackets", "victim@other.example", "501"},
		{"line break", "<victim@other.example\n@example.org>", "500"},
		{"NUL", "<alice@example.org\x00@other.example>", "500"},
		{"comment", "<victim(@example.org)@other.example>", "501"},
		{"UTF-8 without SMTPUTF8", "<víctim@example.org>", "553 5.6.7"},
		{"plus address of nobody", "<victim+alice@example.org>", "550 5.1.1"},
	} {
		got := c.ask("RCPT TO:" + row.path)
		if !strings.HasPrefix(got, row.want) {
			t.Errorf("%s: %s: got %q, want %q", row.name, row.path, got, row.want)
		}
		if strings.Contains(row.path, "\n") {
			c.reply() // The second line got its own.
		}
		c = again(t, w, c)
	}
	if got := c.ask("DATA"); !strings.HasPrefix(got, "554") {
		t.Errorf("DATA after all that: %q", got)
	}
}

// again goes on before the limits on errors and refusals end the connection.
func again(t *testing.T, w *world, c *talk) *talk {
	t.Helper()
	c.conn.Close()
	c = dial(t, w.smtp)
	c.expect("EHLO spammer.example", "250")
	c.expect("MAIL FROM:<spam@example.org>", "250")
	return c
}

func TestRecipientsOfOurs(t *testing.T) {
	w := start(t, ingress.Config{})
	c := dial(t, w.smtp)
	c.expect("EHLO client.example", "250")
	c.expect("MAIL FROM:<>", "250") // The null reverse-path.
	for _, path := range []string{
		"<alice@example.org>", "<Alice@EXAMPLE.ORG>", `<"alice"@example.org>`, "<postmaster>", "<PostMaster>", "<postmaster@example.org>",
		"<anything%at.all@catch.example>", "<@ignored.example:alice@example.org>", "<alice@example.org> NOTIFY=NEVER ORCPT=rfc822;x@y",
	} {
		c.expect("RCPT TO:"+path, "250 2.1.5")
	}
	c.expect("DATA", "354")
	if got := c.ask("Subject: x\r\n\r\nhi\r\n."); !strings.HasPrefix(got, "250 2.0.0 queued as ") {
		t.Fatalf("got %q", got)
	}
	w.stop()
	if len(w.bus.got) != 1 {
		t.Fatalf("%d published", len(w.bus.got))
	}
	env := w.bus.got[0].GetEnvelope()
	var to []string
	for i, r := range env.GetRecipients() {
		to = append(to, r.GetForwardPath())
		if r.GetNumber() != uint32(i) {
			t.Errorf("recipient %d has number %d", i, r.GetNumber())
		}
	}
	// Each once, whoever asked twice.
	want := []string{"alice@example.org", "Alice@example.org", "postmaster", "postmaster@example.org", "anything%at.all@catch.example"}
	if !slices.Equal(to, want) {
		t.Errorf("recipients %q, want %q", to, want)
	}
	if env.GetReversePath() != "" || env.GetClient().GetAddress() != "127.0.0.1" || env.GetClient().GetProtocol() != "ESMTP" {
		t.Errorf("envelope %v", env)
	}
}

func TestDirectoryAway(t *testing.T) {
	w := start(t, ingress.Config{})
	c := dial(t, w.smtp)
	c.expect("HELO client.example", "250")
	c.expect("MAIL FROM:<a@b.example>", "250")
	w.directory.set(true)
	if got := c.ask("RCPT TO:<alice@example.org>"); !strings.HasPrefix(got, "451 4.3.0") || strings.Contains(got, "10.0.0.1") {
		t.Errorf("got %q", got)
	}
	w.directory.set(false)
	c.expect("RCPT TO:<alice@example.org>", "250")
	w.directory.set(true)
	c.expect("RCPT TO:<alice@example.org>", "250") // Known for a moment.
}

func TestPipelinedRecipientsAreAskedAtOnce(t *testing.T) {
	w := start(t, ingress.Config{})
	c := dial(t, w.smtp)
	var batch strings.Builder
	batch.WriteString("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n")
	for i := range 20 {
		fmt.Fprintf(&batch, "RCPT TO:<user%d@catch.example>\r\n", i)
	}
	if _, err := c.conn.Write([]byte(batch.String())); err != nil {
		t.Fatal(err)
	}
	for range 22 {
		if got := c.reply(); !strings.HasPrefix(got, "250") {
			t.Fatalf("got %q", got)
		}
	}
	if n := len(w.directory.calls); n != 1 {
		t.Errorf("%d calls for 20 pipelined recipients: %q", n, w.directory.calls)
	}
}

// TestTooManyMessages are put off at MAIL; LMTP is not counted.
func TestTooManyMessages(t *testing.T) {
	w := start(t, ingress.Config{})
	c := dial(t, w.smtp)
	c.expect("EHLO c.example", "250")
	c.expect("MAIL FROM:<a@b.example>", "250")
	w.limits.reached.Store(true)
	c.expect("RCPT TO:<alice@example.org>", "250")
	c.expect("DATA", "354")
	c.expect("hi\r\n.", "250") // Begun in time.
	c.expect("MAIL FROM:<a@b.example>", "450 4.7.1")
	c.expect("RCPT TO:<alice@example.org>", "503")
	w.limits.reached.Store(false)
	c.expect("MAIL FROM:<a@b.example>", "250")
	before := w.limits.asked.Load()
	w.limits.reached.Store(true)
	c = dial(t, w.lmtp)
	c.expect("LHLO c.example", "250")
	c.expect("MAIL FROM:<a@b.example>", "250")
	if got := w.limits.asked.Load(); before != 3 || got != before {
		t.Errorf("asked %d times by SMTP and %d by LMTP, want 3 and 0", before, got-before)
	}
}

func TestSTARTTLSAndReceived(t *testing.T) {
	w := start(t, ingress.Config{})
	c, err := smtp.DialStartTLS(w.smtp, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello("client.example"); err != nil {
		t.Fatal(err)
	}
	if ok, _ := c.Extension("AUTH"); ok {
		t.Error("AUTH is offered to the world")
	}
	text := "Subject: x\r\n\r\n.dot\r\n"
	if err := c.SendMail("a@b.example", []string{"alice@example.org"}, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
	w.stop()
	prefix := string(w.bus.got[0].GetOverlay().GetPrefix())
	for _, want := range []string{
		"from client.example ([127.0.0.1])", "by mx.example.org with ESMTPS", "(TLS1.3 TLS_", "for <alice@example.org>;",
		"id " + envelope.QueueID(w.bus.got[0].GetQueueId()).String(),
	} {
		if !strings.Contains(prefix, want) {
			t.Errorf("%q is not in %q", want, prefix)
		}
	}
	if strings.Count(prefix, "Received:") != 1 {
		t.Errorf("prefix %q", prefix)
	}
	if v := w.bus.got[0].GetEnvelope().GetSize(); v != int64(len(text)) {
		t.Errorf("size %d, want %d", v, len(text))
	}
}

func TestLMTP(t *testing.T) {
	w := start(t, ingress.Config{})
	c := dial(t, w.lmtp)
	c.expect("EHLO c.example", "500")
	c.expect("LHLO c.example", "250")
	c.expect("MAIL FROM:<a@b.example>", "250")
	c.expect("RCPT TO:<alice@example.org>", "250")
	c.expect("RCPT TO:<nobody@example.org>", "550 5.1.1")
	c.expect("RCPT TO:<postmaster@example.org>", "250")
	c.expect("DATA", "354")
	first := c.ask("hi\r\n.")
	if second := c.reply(); first != second || !strings.HasPrefix(first, "250 2.0.0 queued as ") {
		t.Errorf("got %q and %q", first, second)
	}
	w.stop()
	if p := string(w.bus.got[0].GetOverlay().GetPrefix()); !strings.Contains(p, " with LMTP\r\n") || !strings.HasSuffix(p, "\r\n\r\n") {
		t.Errorf("prefix %q of a message without header", p)
	}
}

func TestStopFinishesTheMessageThatArrives(t *testing.T) {
	w := start(t, ingress.Config{})
	c := dial(t, w.smtp)
	c.expect("HELO c.example", "250")
	c.expect("MAIL FROM:<a@b.example>", "250")
	c.expect("RCPT TO:<alice@example.org>", "250")
	c.expect("DATA", "354")
	idle := dial(t, w.smtp)
	stopped := make(chan struct{})
	go func() { w.stop(); close(stopped) }()
	if got := idle.reply(); !strings.HasPrefix(got, "421") {
		t.Errorf("an idle connection hears %q", got)
	}
	if got := c.ask("late\r\n."); !strings.HasPrefix(got, "250") {
		t.Errorf("got %q", got)
	}
	if got := c.reply(); !strings.HasPrefix(got, "421 4.3.2") {
		t.Errorf("then %q", got)
	}
	<-stopped
	if len(w.bus.got) != 1 {
		t.Errorf("%d published", len(w.bus.got))
	}
}

func TestConfig(t *testing.T) {
	_, err := ingress.New(ingress.Config{
		Listeners: []front.Listener{{}}, LMTP: []front.Listener{{}}, Drain: -1, Limits: smtpd.Limits{Errors: -1},
	}, ingress.Deps{})
	for _, key := range []string{"hostname", "listeners[0].address", "lmtp[0].address", "drain", "limits.errors"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not in %v", key, err)
		}
	}
	s, err := ingress.New(ingress.Config{Hostname: "x", Listeners: []front.Listener{{Address: "127.0.0.1:0", ImplicitTLS: true}}}, ingress.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("implicit TLS without a certificate: %v", err)
	}
}

// BenchmarkAccept: one operation is one message of 4 KiB from one of 20 connections, pipelined, into a blob directory.
func BenchmarkAccept(b *testing.B) {
	store, err := dir.Open(b.Context(), b.TempDir(), dir.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	service, err := ingress.New(ingress.Config{Hostname: "mx.example.org"}, ingress.Deps{
		Deps: acceptance.Deps{Blobs: store, Bus: nullBus{}}, Directory: &directory{}, SMTP: []front.Socket{{Listener: l}},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	defer func() { cancel(); <-done }()

	text := append([]byte("From: a@b.example\r\nTo: alice@example.org\r\nSubject: bench\r\nMessage-ID: <1@b.example>\r\n"+
		"Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"),
		bytes.Repeat([]byte("0123456789012345678901234567890123456789012345678901234567890123456789abcdef\r\n"), 50)...)
	text = append(text, ".\r\n"...)
	work := make(chan struct{})
	var clients sync.WaitGroup
	for range 20 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		clients.Go(func() {
			in := bufio.NewReader(conn)
			replies := func(n int) {
				for n > 0 {
					line, err := in.ReadString('\n')
					if err != nil || line[0] > '3' {
						b.Errorf("%q, %v", line, err)
						return
					}
					if line[3] == ' ' {
						n--
					}
				}
			}
			replies(1)
			conn.Write([]byte("EHLO bench.example\r\n"))
			replies(1)
			for range work {
				conn.Write([]byte("MAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n"))
				replies(3)
				conn.Write(text)
				replies(1)
			}
		})
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	clients.Wait()
}

type nullBus struct{}

func (nullBus) PublishAll(context.Context, bus.Subject, []uint64, [][]byte) error { return nil }
