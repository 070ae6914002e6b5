package certs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"

	"github.com/mailfarm/mailfarm/internal/certs"
	"github.com/mailfarm/mailfarm/internal/pki"
)

const patience = 20 * time.Second

// logged keeps what is logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// world is files of certificates, and who makes them.
type world struct {
	t   *testing.T
	dir string
	log logged
}

func newWorld(t *testing.T) *world { return &world{t: t, dir: t.TempDir()} }

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// pair is one file, so that it changes at once.
func (w *world) pair(name string) certs.Pair {
	return certs.Pair{CertificateFile: w.path(name + ".pem"), KeyFile: w.path(name + ".pem")}
}

// authority makes one of its own.
func (w *world) authority() *pki.Authority {
	w.t.Helper()
	ca, err := pki.Open(w.t.TempDir())
	if err != nil {
		w.t.Fatal(err)
	}
	return ca
}

// put issues a certificate for hosts into the files of a pair, and returns it.
func (w *world) put(ca *pki.Authority, name string, use pki.Use, hosts ...string) *x509.Certificate {
	w.t.Helper()
	c, err := ca.Issue(filepath.Base(w.t.TempDir())+name, use, hosts...)
	if err != nil {
		w.t.Fatal(err)
	}
	os.Remove(ca.Certificate(name))
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(name+".pem", append(pemOf("CERTIFICATE", c.Certificate[0]), pemOf("PRIVATE KEY", key)...))
	return c.Leaf
}

func (w *world) write(name string, content []byte) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name)+".new", content, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(w.path(name)+".new", w.path(name)); err != nil {
		w.t.Fatal(err)
	}
}

// open opens a Reloader that looks often.
func (w *world) open(change func(*certs.Config), names ...string) *certs.Reloader {
	w.t.Helper()
	cfg := certs.Config{Name: "test", Every: time.Millisecond, Log: slog.New(slog.NewTextHandler(&w.log, nil))}
	for _, n := range names {
		cfg.Pairs = append(cfg.Pairs, w.pair(n))
	}
	if change != nil {
		change(&cfg)
	}
	r, err := certs.Open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// run keeps a Reloader at work until the test ends.
func (w *world) run(r *certs.Reloader) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
}

// until asks until something is so.
func (w *world) until(what string, so func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !so(); {
		if time.Now().After(end) {
			w.t.Fatalf("never %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// shake does a handshake over a pipe and tells what the client saw.
func shake(server, client *tls.Config) (tls.ConnectionState, error) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		defer theirs.Close()
		s := tls.Server(theirs, server)
		if s.Handshake() == nil {
			s.Write([]byte("x"))
		}
	}()
	c := tls.Client(ours, client)
	octet := make([]byte, 1) // with TLS 1.3 tickets and refusals of the server come behind the handshake
	if _, err := c.Read(octet); err != nil {
		return tls.ConnectionState{}, err
	}
	return c.ConnectionState(), nil
}

// shows is the certificate that a server shows who asks for a name.
func (w *world) shows(r *certs.Reloader, name string) *x509.Certificate {
	w.t.Helper()
	state, err := shake(r.ServerConfig(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		w.t.Fatalf("handshake for %s: %v", name, err)
	}
	return state.PeerCertificates[0]
}

func TestReload(t *testing.T) {
	w := newWorld(t)
	ca := w.authority()
	first := w.put(ca, "mail", pki.Server, "mail.example.org")
	r := w.open(nil, "mail")
	w.run(r)
	if got := w.shows(r, "mail.example.org"); !got.Equal(first) {
		t.Fatalf("shows %v, want the first", got.SerialNumber)
	}
	tickets := &tls.Config{ServerName: "mail.example.org", RootCAs: ca.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	if _, err := shake(r.ServerConfig(), tickets); err != nil {
		t.Fatal(err)
	}
	second := w.put(ca, "mail", pki.Server, "mail.example.org")
	w.until("shows the second", func() bool { return w.shows(r, "mail.example.org").Equal(second) })
	if state, err := shake(r.ServerConfig(), tickets); err != nil || !state.DidResume {
		t.Errorf("session of before: %v, resumed %v", err, state.DidResume)
	}
	if n := w.log.count("WARN"); n != 0 {
		t.Errorf("%d warnings", n)
	}
}

// TestKeepsWhatWorks: what cannot be used is told once, and changes nothing.
func TestKeepsWhatWorks(t *testing.T) {
	for _, row := range []struct {
		name, warning string
		spoil         func(*world, *pki.Authority)
	}{
		{"another's key", "private key does not match", func(w *world, ca *pki.Authority) {
			w.put(ca, "other", pki.Server, "mail.example.org")
			other, _ := os.ReadFile(w.path("other.pem"))
			mine, _ := os.ReadFile(w.path("mail.pem"))
			cut := func(pem []byte) (string, string) {
				certificate, key, _ := strings.Cut(string(pem), "-----BEGIN PRIVATE")
				return certificate, "-----BEGIN PRIVATE" + key
			}
			certificate, _ := cut(mine)
			_, key := cut(other)
			w.write("mail.pem", []byte(certificate+key))
		}},
		{"half a file", "failed to find", func(w *world, ca *pki.Authority) {
			pem, _ := os.ReadFile(w.path("mail.pem"))
			w.write("mail.pem", pem[:len(pem)/2])
		}},
		{"no file", "no such file", func(w *world, _ *pki.Authority) { os.Remove(w.path("mail.pem")) }},
		{"one that is over", "has been over since", func(w *world, _ *pki.Authority) {
			w.sign("mail", time.Now().Add(-time.Minute), time.Now().Add(-time.Second))
		}},
		{"an older one", "older than what is in use", func(w *world, _ *pki.Authority) {
			w.sign("mail", time.Now().Add(-48*time.Hour), time.Now().Add(time.Hour))
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			ca := w.authority()
			first := w.put(ca, "mail", pki.Server, "mail.example.org")
			other := w.put(ca, "second", pki.Server, "second.example.org")
			r := w.open(nil, "mail", "second")
			w.run(r)
			row.spoil(w, ca)
			w.until("warned", func() bool { return w.log.count("level=WARN") > 0 })
			// Another's change is taken, in spite of this; several looks later than the warning.
			newer := w.put(ca, "second", pki.Server, "second.example.org")
			w.until("takes the other", func() bool { return w.shows(r, "second.example.org").Equal(newer) })
			if other.Equal(newer) || !w.shows(r, "mail.example.org").Equal(first) {
				t.Error("does not show the first any more")
			}
			if w.log.count("level=WARN") != 1 || w.log.count(row.warning) != 1 {
				t.Errorf("log:\n%s\nwant one warning with %q", w.log.b.String(), row.warning)
			}
			good := w.put(ca, "mail", pki.Server, "mail.example.org")
			w.until("recovers", func() bool { return w.shows(r, "mail.example.org").Equal(good) })
		})
	}
}

// TestNames: a client gets the certificate of the name that it asks for, or the first.
func TestNames(t *testing.T) {
	w := newWorld(t)
	ca := w.authority()
	a, b := w.put(ca, "a", pki.Server, "a.example.org", "*.wild.example.org"), w.put(ca, "b", pki.Server, "b.example.org")
	r := w.open(nil, "a", "b")
	for name, want := range map[string]*x509.Certificate{
		"a.example.org": a, "b.example.org": b, "x.wild.example.org": a, "elsewhere.example": a, "": a,
	} {
		if got := w.shows(r, name); !got.Equal(want) {
			t.Errorf("%q: got that of %v, want that of %v", name, got.DNSNames, want.DNSNames)
		}
	}
}

// TestHangup loads at once, without a look.
func TestHangup(t *testing.T) {
	w := newWorld(t)
	ca := w.authority()
	w.put(ca, "mail", pki.Server, "mail.example.org")
	r := w.open(func(c *certs.Config) { c.Every, c.Hangup = time.Hour, true }, "mail")
	caught := make(chan os.Signal, 1) // so that the signal ends nobody before Run has asked for it
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	w.run(r)
	second := w.put(ca, "mail", pki.Server, "mail.example.org")
	w.until("shows the second", func() bool {
		syscall.Kill(os.Getpid(), syscall.SIGHUP)
		return w.shows(r, "mail.example.org").Equal(second)
	})
}

// TestMutual: who has no certificate of the authority gets nothing, and an authority can be changed.
func TestMutual(t *testing.T) {
	w := newWorld(t)
	old, young := w.authority(), w.authority()
	ca := func(a *pki.Authority) { pem, _ := os.ReadFile(a.CA()); w.write("ca.pem", pem) }
	ca(old)
	w.put(old, "server", pki.Server, "store.example.org")
	w.put(old, "client", pki.Client, "imap")
	mutual := func(c *certs.Config) { c.CAFile = w.path("ca.pem") }
	server, client := w.open(mutual, "server"), w.open(mutual, "client")
	call := func() error {
		ours, theirs := net.Pipe()
		defer ours.Close()
		heard := make(chan error, 1)
		go func() {
			defer theirs.Close()
			conn, _, err := credentials.NewTLS(server.ServerConfig()).ServerHandshake(theirs)
			if err == nil {
				_, err = conn.Write([]byte("x"))
			}
			heard <- err
		}()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, _, err := client.Credentials().Clone().ClientHandshake(ctx, "store.example.org:1", ours)
		if err == nil {
			_, err = io.ReadFull(conn, make([]byte, 1))
		}
		ours.Close()
		return errors.Join(err, <-heard)
	}
	if err := call(); err != nil {
		t.Fatalf("one authority: %v", err)
	}
	if _, err := shake(server.ServerConfig(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}); err == nil {
		t.Error("a client without a certificate gets an answer")
	}
	strange := w.open(func(c *certs.Config) {
		c.Pairs = []certs.Pair{w.pair("strange")}
		w.put(young, "strange", pki.Client, "imap")
	})
	cfg := strange.ClientConfig()
	cfg.InsecureSkipVerify, cfg.NextProtos = true, []string{"h2"}
	if _, err := shake(server.ServerConfig(), cfg); err == nil {
		t.Error("a client of another authority gets an answer")
	}
	ca(young)
	w.put(young, "server", pki.Server, "store.example.org")
	server.Reload()
	if err := call(); err == nil {
		t.Error("a server of an authority that the client does not know is believed")
	}
	client.Reload()
	if err := call(); err == nil {
		t.Error("a client of the authority before is let in")
	}
	w.put(young, "client", pki.Client, "imap")
	client.Reload()
	if err := call(); err != nil {
		t.Errorf("the other authority: %v", err)
	}
}

func TestMetric(t *testing.T) {
	w := newWorld(t)
	ca := w.authority()
	w.put(ca, "a", pki.Server, "a.example.org")
	metrics := prometheus.NewRegistry()
	w.open(func(c *certs.Config) { c.Metrics = metrics }, "a")
	w.open(func(c *certs.Config) { c.Metrics, c.Name = metrics, "rpc" }, "a")
	families, err := metrics.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "mailfarm_certificate_expiry_seconds" || len(families[0].Metric) != 2 {
		t.Fatalf("got %v, %v", families, err)
	}
	for _, m := range families[0].Metric {
		if days := m.Gauge.GetValue() / 86400; days < 799 || days > 801 {
			t.Errorf("ends in %.1f days, want 800", days)
		}
	}
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	w.put(w.authority(), "mail", pki.Server, "mail.example.org")
	w.write("junk", []byte("junk"))
	log := slog.New(slog.DiscardHandler)
	for _, row := range []struct {
		cfg  certs.Config
		want string
	}{
		{certs.Config{Log: log}, "none is named"},
		{certs.Config{Log: log, Pairs: []certs.Pair{w.pair("none")}}, "none.pem"},
		{certs.Config{Log: log, Pairs: []certs.Pair{w.pair("mail")}, CAFile: w.path("junk")}, "junk holds no certificate"},
	} {
		if _, err := certs.Open(row.cfg); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("got %v, want %q", err, row.want)
		}
	}
	err := certs.Validate("tls.more", []certs.Pair{{CertificateFile: "a", KeyFile: "b"}, {CertificateFile: "x"}, {CertificateFile: "a", KeyFile: "c"}})
	if err == nil || !strings.Contains(err.Error(), "tls.more[1]: ") || !strings.Contains(err.Error(), "tls.more[2].certificate_file: ") {
		t.Errorf("got %v", err)
	}
}

// TestOpenWarnsOfOneThatIsOver: it is used, as somebody may know why, and nobody has to find out by clients that refuse it.
func TestOpenWarnsOfOneThatIsOver(t *testing.T) {
	w := newWorld(t)
	w.sign("mail", time.Now().Add(-time.Hour), time.Now().Add(-time.Minute))
	w.open(nil, "mail")
	if w.log.count("level=WARN") != 1 || w.log.count("is over") != 1 {
		t.Errorf("log:\n%s\nwant one warning", w.log.b.String())
	}
}
