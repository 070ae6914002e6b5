package farm_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"github.com/mailfarm/mailfarm/internal/admin"
	"github.com/mailfarm/mailfarm/internal/farm"
	"github.com/mailfarm/mailfarm/internal/filelock"
	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	alice = "alice@" + farm.DevDomain
	bob   = "bob@" + farm.DevDomain
	// patience is how long a test waits for what must come.
	patience = 30 * time.Second
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// freePorts finds ports on which nobody listens.
func freePorts(t *testing.T) (p farm.Ports) {
	t.Helper()
	for _, port := range []*int{&p.SMTP, &p.Submission, &p.SubmissionTLS, &p.LMTP, &p.IMAP, &p.IMAPTLS, &p.POP3, &p.POP3TLS, &p.HTTP, &p.Admin} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all are held until all are found
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return p
}

// running is a farm that runs in this process.
type running struct {
	t     *testing.T
	farm  *farm.Farm
	cfg   farm.Config
	ports farm.Ports
	stop  func()
}

// newConfig is dev's, on free ports and a folder of the test's.
func newConfig(t *testing.T, ports farm.Ports, change func(*farm.Config)) farm.Config {
	t.Helper()
	cfg := farm.Config{Hostname: "mail.example.org", Data: t.TempDir()}
	cfg.Listen(ports)
	cfg.AllowPlaintextLogin()
	cfg.Directory.SCRAMIterations = 4096
	if change != nil {
		change(&cfg)
	}
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// start runs a farm until stop, or the end of the test.
func start(t *testing.T, cfg farm.Config, ports farm.Ports) *running {
	t.Helper()
	f, err := farm.New(t.Context(), cfg, farm.Whole, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	r := &running{t: t, farm: f, cfg: cfg, ports: ports}
	r.stop = sync.OnceFunc(func() {
		began := time.Now()
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			t.Error("it does not end")
		}
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v to end", took)
		}
	})
	t.Cleanup(r.stop)
	if _, err := f.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.eventually("ready", func() bool { code, _ := r.ready(); return code == http.StatusOK })
	return r
}

// eventually asks again until it is so.
func (r *running) eventually(what string, so func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !so(); {
		if time.Now().After(deadline) {
			r.t.Fatalf("never came true: %s", what)
		}
	}
}

func (r *running) ready() (int, map[string]string) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", r.ports.HTTP))
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	parts := map[string]string{}
	json.NewDecoder(resp.Body).Decode(&parts)
	return resp.StatusCode, parts
}

func at(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// send hands a message to a port, authenticated where user is given.
func (r *running) send(port int, user, from, to, text string) error {
	r.t.Helper()
	c, err := smtp.Dial(at(port))
	if err != nil {
		return err
	}
	defer c.Close()
	if user != "" {
		if err := c.Auth(sasl.NewPlainClient("", user, farm.DevPassword)); err != nil {
			return err
		}
	}
	if err := c.SendMail(from, []string{to}, strings.NewReader(text)); err != nil {
		return err
	}
	return c.Quit()
}

// pop3 reads all messages of an account.
func (r *running) pop3(user string) (messages []string) {
	r.t.Helper()
	conn, err := net.Dial("tcp", at(r.ports.POP3))
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	lines := bufio.NewReader(conn)
	say := func(command string) string {
		if command != "" {
			fmt.Fprintf(conn, "%s\r\n", command)
		}
		line, err := lines.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "+OK") {
			r.t.Fatalf("%s: %q, %v", command, line, err)
		}
		return line
	}
	say("")
	say("USER " + user)
	say("PASS " + farm.DevPassword)
	var count int
	fmt.Sscanf(say("STAT"), "+OK %d", &count)
	for i := range count {
		say(fmt.Sprintf("RETR %d", i+1))
		var text strings.Builder
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				r.t.Fatal(err)
			}
			if line == ".\r\n" {
				break
			}
			text.WriteString(strings.TrimPrefix(line, "."))
		}
		messages = append(messages, text.String())
	}
	say("QUIT")
	return messages
}

// letters waits until an account has n messages.
func (r *running) letters(user string, n int) (messages []string) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%s has %d messages", user, n), func() bool {
		messages = r.pop3(user)
		return len(messages) >= n
	})
	if len(messages) != n {
		r.t.Fatalf("%s has %d messages, want %d", user, len(messages), n)
	}
	return messages
}

const letter = "From: carol@sender.example\r\nTo: bob@example.org\r\nSubject: hello\r\nMessage-ID: <1@sender.example>\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n\r\nHello Bob.\r\n.\r\n"

// peer is the mail server of remote.example: it takes mail but for nobody@.
type peer struct {
	mu   sync.Mutex
	took []string
}

func (p *peer) NewSession(*smtp.Conn) (smtp.Session, error) { return p, nil }
func (p *peer) Mail(string, *smtp.MailOptions) error        { return nil }
func (p *peer) Reset()                                      {}
func (p *peer) Logout() error                               { return nil }
func (p *peer) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	return nil
}
func (p *peer) Data(body io.Reader) error {
	text, err := io.ReadAll(body)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took = append(p.took, string(text))
	return err
}

// messages are those that the peer took.
func (p *peer) messages() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.took...)
}

// startPeer starts the peer and a DNS that leads to it.
func startPeer(t *testing.T) (p *peer, port int, dns string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &peer{}
	srv := smtp.NewServer(p)
	srv.Domain = "mx.remote.example"
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	zone := "remote.example. 60 IN MX 10 mx.remote.example.\nmx.remote.example. 60 IN A 127.0.0.1\n"
	return p, l.Addr().(*net.TCPAddr).Port, dnstest.Start(t, zone).Addr()
}

// TestFarm starts everything in a folder of its own, sends by SMTP and submission, reads by POP3, relays, bounces, answers
// operators, drains, and finds everything again.
func TestFarm(t *testing.T) {
	ports := freePorts(t)
	mx, mxPort, dns := startPeer(t)
	cfg := newConfig(t, ports, func(cfg *farm.Config) {
		cfg.Remote.Port, cfg.DNS.Servers = mxPort, []string{dns}
	})
	r := start(t, cfg, ports)

	t.Run("receives", func(t *testing.T) {
		if err := r.send(ports.SMTP, "", "carol@sender.example", bob, letter); err != nil {
			t.Fatal(err)
		}
		got := r.letters(bob, 1)[0]
		if !strings.HasSuffix(got, letter) {
			t.Errorf("the letter is another:\n%s", got)
		}
		for i, want := range []string{"Return-Path: <carol@sender.example>\r\nDelivered-To: bob@example.org\r\n", "Authentication-Results: mail.example.org;", "Received: from "} {
			if at := strings.Index(got, want); at < 0 || i == 0 && at != 0 {
				t.Errorf("%q is not in its place:\n%s", want, got)
			}
		}
	})
	t.Run("refuses to relay", func(t *testing.T) {
		var refused *smtp.SMTPError
		if err := r.send(ports.SMTP, "", "carol@sender.example", "x@remote.example", letter); !errors.As(err, &refused) || refused.Code != 550 {
			t.Errorf("got %v", err)
		}
		if err := r.send(ports.SMTP, "", "carol@sender.example", "nobody@example.org", letter); !errors.As(err, &refused) || refused.Code != 550 {
			t.Errorf("unknown recipient: %v", err)
		}
	})
	t.Run("sends", func(t *testing.T) {
		if err := r.send(ports.Submission, alice, alice, "dave@remote.example", "From: "+alice+"\r\nSubject: out\r\n\r\nHello.\r\n"); err != nil {
			t.Fatal(err)
		}
		r.eventually("the peer has it", func() bool { return len(mx.messages()) == 1 })
		if got := mx.messages()[0]; !strings.HasPrefix(got, "Received: from ") || strings.Contains(got, "Authentication-Results") || !strings.Contains(got, "\r\nMessage-Id: <") && !strings.Contains(got, "\r\nMessage-ID: <") {
			t.Errorf("the peer got\n%s", got)
		}
	})
	t.Run("bounces", func(t *testing.T) {
		if err := r.send(ports.Submission, alice, alice, "nobody@remote.example", "From: "+alice+"\r\nSubject: lost\r\n\r\nHello.\r\n"); err != nil {
			t.Fatal(err)
		}
		got := r.letters(alice, 1)[0]
		for _, want := range []string{"Return-Path: <>\r\n", "\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.remote.example\r\n", "\r\nSubject: lost\r\n"} {
			if !strings.Contains(got, want) {
				t.Errorf("%q is not in\n%s", want, got)
			}
		}
	})
	t.Run("answers operators", func(t *testing.T) { r.operators(t) })
	t.Run("is alone on its folder", func(t *testing.T) {
		again, err := farm.New(t.Context(), cfg, farm.Whole, "test", slog.New(slog.DiscardHandler))
		if err == nil {
			again.Close()
		}
		if !errors.Is(err, filelock.ErrHeld) || !strings.Contains(err.Error(), "--data") {
			t.Errorf("a second one: %v", err)
		}
	})
	t.Run("offers TLS", func(t *testing.T) {
		conn, err := tls.Dial("tcp", at(ports.POP3TLS), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})

	r.stop()
	if c, err := net.Dial("tcp", at(ports.SMTP)); err == nil {
		c.Close()
		t.Error("it still listens")
	}
	if _, err := admin.Dial("", cfg.Data, nil); !errors.Is(err, admin.ErrNotRunning) {
		t.Errorf("its socket is still there: %v", err)
	}
	again := start(t, cfg, ports)
	again.letters(bob, 1)
	again.letters(alice, 1)
	again.stop()
}

// operators speaks to the socket in the data folder.
func (r *running) operators(t *testing.T) {
	conn, err := admin.Dial("", r.cfg.Data, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	v, err := adminv1.NewAdminClient(conn).Version(ctx, &adminv1.VersionRequest{})
	if err != nil || v.Version != "test" || len(v.Roles) != len(farm.Roles) {
		t.Errorf("version: %v, %v", v, err)
	}
	follow, err := adminv1.NewAdminClient(conn).Follow(ctx, &adminv1.FollowRequest{ForwardPath: alice})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := follow.Header(); err != nil {
		t.Fatal(err)
	}
	if err := r.send(r.ports.LMTP, "", "", "", ""); err == nil {
		t.Error("LMTP took an ordinary client")
	}
	if err := r.send(r.ports.SMTP, "", "carol@sender.example", "postmaster@example.org", letter); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for !seen["local delivered"] {
		resp, err := follow.Recv()
		if err != nil {
			t.Fatalf("seen %v: %v", seen, err)
		}
		for _, ev := range resp.Events {
			seen[ev.Stage+" "+ev.Event] = true
		}
	}
	audit, err := storev1.NewQueueClient(conn).Audit(ctx, &storev1.AuditRequest{})
	if err != nil || audit.Unaccounted != 0 || audit.Relayed != 1 || audit.Bounced != 1 || audit.Accepted != 4 {
		t.Errorf("audit: %v, %v", audit, err)
	}
	// What this test added goes again.
	r.letters(alice, 2)
	r.deleteLast(t, alice)
}

// deleteLast removes an account's last message.
func (r *running) deleteLast(t *testing.T, user string) {
	conn, err := net.Dial("tcp", at(r.ports.POP3))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	lines := bufio.NewReader(conn)
	for _, command := range []string{"", "USER " + user, "PASS " + farm.DevPassword, "DELE 2", "QUIT"} {
		if command != "" {
			fmt.Fprintf(conn, "%s\r\n", command)
		}
		if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "+OK") {
			t.Fatalf("%s: %q, %v", command, line, err)
		}
	}
}

// TestDrain ends in time with clients in the middle of everything, and what got a 250 is there afterwards.
func TestDrain(t *testing.T) {
	ports := freePorts(t)
	cfg := newConfig(t, ports, nil)
	r := start(t, cfg, ports)
	dial := func(port int, says ...string) net.Conn {
		conn, err := net.Dial("tcp", at(port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(patience))
		lines := bufio.NewReader(conn)
		for _, s := range append([]string{""}, says...) {
			if s != "" {
				fmt.Fprintf(conn, "%s\r\n", s)
			}
			if _, err := lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return conn
	}
	dial(ports.SMTP)
	dial(ports.SMTP, "HELO x", "MAIL FROM:<>", "RCPT TO:<"+bob+">", "DATA")
	dial(ports.IMAP, "a LOGIN "+alice+" "+farm.DevPassword, "b SELECT INBOX")
	dial(ports.POP3, "USER "+bob, "PASS "+farm.DevPassword)
	dial(ports.Submission)
	for range 20 {
		if err := r.send(ports.SMTP, "", "carol@sender.example", alice, letter); err != nil {
			t.Fatal(err)
		}
	}
	r.stop()
	again := start(t, cfg, ports)
	again.letters(alice, 20)
}

// TestTakenPort is the error of the start, and everything is given back.
func TestTakenPort(t *testing.T) {
	ports := freePorts(t)
	cfg := newConfig(t, ports, nil)
	l, err := net.Listen("tcp", at(ports.IMAP))
	if err != nil {
		t.Fatal(err)
	}
	f, err := farm.New(t.Context(), cfg, farm.Whole, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = f.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "imap") || !strings.Contains(err.Error(), at(ports.IMAP)) {
		t.Errorf("got %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	l.Close()
	start(t, cfg, ports).stop()
}

// TestRefuseDevPasswords: what everybody knows is good on loopback only.
func TestRefuseDevPasswords(t *testing.T) {
	ports := freePorts(t)
	cfg := newConfig(t, ports, nil)
	start(t, cfg, ports).stop()
	for address, refused := range map[string]bool{at(ports.SMTP): false, fmt.Sprintf("localhost:%d", ports.SMTP): false, fmt.Sprintf(":%d", ports.SMTP): true, fmt.Sprintf("0.0.0.0:%d", ports.SMTP): true} {
		cfg.Ingress.Listeners[0].Address = address
		f, err := farm.New(t.Context(), cfg, farm.Whole, "test", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.RefuseDevPasswords(t.Context()); (err != nil) != refused {
			t.Errorf("%s: %v, want it refused: %t", address, err, refused)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestValidateNamesAllFaults, each with its section.
func TestValidateNamesAllFaults(t *testing.T) {
	var cfg farm.Config
	cfg.Defaults()
	cfg.Hostname, cfg.TLS.KeyFile, cfg.HTTP, cfg.Admin.Listen, cfg.Log.Level, cfg.Log.Format = "two names", "key.pem", "2080", "somewhere", "loud", "xml"
	cfg.Bus.Partitions, cfg.DNS.Attempts, cfg.Directory.PasswordMinLength, cfg.Store.MaxAppend, cfg.Ledger.SweepBatch = -1, -1, -1, -1, -1
	cfg.Filter.Batch, cfg.Router.Batch, cfg.Local.Batch, cfg.Remote.Port = -1, -1, -1, -1
	cfg.Ingress.Drain, cfg.Submission.Drain, cfg.IMAP.MaxConnections, cfg.POP3.MaxConnections = -1, -1, -1, -1
	err := cfg.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, key := range []string{
		"hostname", "tls", "http", "admin.listen", "log.level", "log.format", "bus.partitions", "dns.attempts", "directory.password_min_length",
		"store.max_append", "ledger.sweep_batch", "filter.batch", "router.batch", "delivery_local.batch", "delivery_remote.port",
		"ingress.drain", "submission.drain", "imap.max_connections", "pop3.max_connections",
	} {
		if !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%s is not named in:\n%v", key, err)
		}
	}
}
