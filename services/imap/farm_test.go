package imap_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	accounts "github.com/mailfarm/mailfarm/internal/account/sqlite"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/credential"
	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/rpc"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/directory"
	imapsvc "github.com/mailfarm/mailfarm/services/imap"
	"github.com/mailfarm/mailfarm/services/store"
)

const password = "correct horse battery"

// farm is an imap role over the real store and directory, which it calls by gRPC.
type farm struct {
	mailboxes storev1.MailboxesClient
	bodies    storev1.BodiesClient
	directory directoryv1.DirectoryClient
	accounts  directoryv1.AccountsClient
	notices   *notices
	tls       *tls.Config

	// addr is the listener that takes passwords in clear, strict the one that does not, secure the one with implicit TLS.
	addr, strict, secure string
	stop                 func()
	users                atomic.Int64
}

// notices is a bus in miniature.
type notices struct {
	mu   sync.Mutex
	subs map[uint64]map[int]func(*mailv1.MailboxChanged)
	next int
	// lost drops all notices.
	lost atomic.Bool
}

func (n *notices) Subscribe(account uint64, changed func(*mailv1.MailboxChanged)) func() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next++
	id := n.next
	if n.subs[account] == nil {
		n.subs[account] = map[int]func(*mailv1.MailboxChanged){}
	}
	n.subs[account][id] = changed
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.subs[account], id)
	}
}

// Notify is store.Notifier's.
func (n *notices) Notify(_ string, payload []byte) error {
	if n.lost.Load() {
		return nil
	}
	var c mailv1.MailboxChanged
	if err := proto.Unmarshal(payload, &c); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.subs[c.GetAccount()] {
		f(&c)
	}
	return nil
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startFarm starts everything; cfg may be nil.
func startFarm(t testing.TB, change func(*imapsvc.Config)) *farm {
	t.Helper()
	ctx := context.Background()
	folder := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	db, err := sqlite.Open(ctx, filepath.Join(folder, "index.db"), sqlite.Options{})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	blobs, err := dir.Open(ctx, filepath.Join(folder, "blobs"), dir.Options{Log: log})
	check(t, err)
	t.Cleanup(func() { check(t, blobs.Close()) })
	people, err := accounts.Open(ctx, filepath.Join(folder, "directory.db"))
	check(t, err)
	t.Cleanup(func() { check(t, people.Close()) })

	f := &farm{notices: &notices{subs: map[uint64]map[int]func(*mailv1.MailboxChanged){}}}
	stores, err := store.New(store.Config{MaxAppend: 1000}, store.Deps{
		Mailboxes: db.Mailboxes(), Leases: db.Leases(), Blobs: blobs, Notify: f.notices, Log: log,
		Metrics: prometheus.NewRegistry(), Now: time.Now,
	})
	check(t, err)
	dirs, err := directory.New(directory.Config{SCRAMIterations: credential.MinIterations}, directory.Deps{
		Store: people, Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now,
	})
	check(t, err)
	srv := rpc.NewServer(log)
	stores.Register(srv)
	dirs.Register(srv)
	conn, stop, err := rpc.Local(srv)
	check(t, err)
	t.Cleanup(stop)
	f.mailboxes, f.bodies = storev1.NewMailboxesClient(conn), storev1.NewBodiesClient(conn)
	f.directory, f.accounts = directoryv1.NewDirectoryClient(conn), directoryv1.NewAccountsClient(conn)
	_, err = f.accounts.AddDomain(ctx, &directoryv1.AddDomainRequest{Domain: &directoryv1.Domain{Name: "example.org"}})
	check(t, err)
	f.tls = serverTLS(t)
	f.startRoles(t, change)
	return f
}

// startRoles starts the imap role twice: with passwords in clear allowed from loopback, and without.
func (f *farm) startRoles(t testing.TB, change func(*imapsvc.Config)) {
	t.Helper()
	var addrs [3]string
	run := func(cfg imapsvc.Config, at ...*string) func() {
		var mu sync.Mutex
		n := 0
		svc, err := imapsvc.New(cfg, imapsvc.Deps{
			Mailboxes: f.mailboxes, Bodies: f.bodies, Directory: f.directory, Notices: f.notices, TLS: f.tls,
			Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
			Listen: func(network, address string) (net.Listener, error) {
				ln, err := net.Listen(network, address)
				if err == nil {
					mu.Lock()
					*at[n] = ln.Addr().String()
					n++
					mu.Unlock()
				}
				return ln, err
			},
		})
		check(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- svc.Run(ctx) }()
		select {
		case <-svc.Ready():
		case err := <-done:
			t.Fatal(err)
		}
		return sync.OnceFunc(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(10 * time.Second):
				t.Error("the role does not drain")
				svc.Close()
			}
		})
	}
	cfg := imapsvc.Config{
		Listeners:         []front.Listener{{Address: "127.0.0.1:0"}, {Address: "127.0.0.1:0", ImplicitTLS: true}},
		PlaintextNetworks: []string{"127.0.0.0/8"},
		MaxPerAddress:     5000,
	}
	if change != nil {
		change(&cfg)
	}
	strict := cfg
	strict.PlaintextNetworks = nil
	strict.Listeners = strict.Listeners[:1]
	stop1 := run(cfg, &addrs[0], &addrs[1])
	stop2 := run(strict, &addrs[2])
	f.addr, f.secure, f.strict = addrs[0], addrs[1], addrs[2]
	f.stop = func() { stop1(); stop2() }
	t.Cleanup(f.stop)
}

// user makes an account and returns its address.
func (f *farm) user(t testing.TB) string {
	t.Helper()
	address, _ := f.account(t)
	return address
}

func (f *farm) account(t testing.TB) (string, uint64) {
	t.Helper()
	address := fmt.Sprintf("user%d@example.org", f.users.Add(1))
	resp, err := f.accounts.AddAccount(context.Background(), &directoryv1.AddAccountRequest{Address: address, Password: password})
	check(t, err)
	return address, resp.GetAccount().GetId()
}

// fill appends messages straight into the store.
func (f *farm) fill(t testing.TB, account uint64, mailbox string, messages ...string) {
	t.Helper()
	for len(messages) > 0 {
		n := min(len(messages), 500)
		stream, err := f.mailboxes.Append(context.Background())
		check(t, err)
		for _, m := range messages[:n] {
			check(t, stream.Send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Start{Start: &storev1.AppendStart{
				Account: account, Mailbox: mailbox, Size: int64(len(m)),
			}}}))
			check(t, stream.Send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Data{Data: []byte(m)}}))
			check(t, stream.Send(&storev1.AppendRequest{Part: &storev1.AppendRequest_End{End: true}}))
		}
		_, err = stream.CloseAndRecv()
		check(t, err)
		messages = messages[n:]
	}
}

// numbered are small messages.
func numbered(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("From: sender%d@example.net\r\nTo: user@example.org\r\nSubject: message %d\r\n"+
			"Message-ID: <%d@example.net>\r\nDate: Mon, 02 Jan 2023 10:00:00 +0000\r\n\r\nbody of %d\r\n", i%7, i, i, i))
	}
	return out
}

// serverTLS makes a certificate for localhost.
func serverTLS(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	check(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func clientTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// quote makes an IMAP quoted string.
func quote(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }
