package pop3_test

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
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	accounts "github.com/mailfarm/mailfarm/internal/account/sqlite"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/credential"
	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/rpc"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/directory"
	"github.com/mailfarm/mailfarm/services/pop3"
	"github.com/mailfarm/mailfarm/services/store"
)

const password = "correct horse battery"

// farm is a pop3 role over the real store and directory, which it calls as `run all` does.
type farm struct {
	mailboxes storev1.MailboxesClient
	leases    storev1.LeasesClient
	imports   storev1.ImportsClient
	accounts  directoryv1.AccountsClient

	// addr is the listener that takes passwords in the clear, strict the one that does not, secure the one with implicit TLS.
	addr, strict, secure string
	users                atomic.Int64
}

// noNotices drops change notices: POP3 listens to none.
type noNotices struct{}

func (noNotices) Notify(string, []byte) error { return nil }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func startFarm(t testing.TB, change func(*pop3.Config)) *farm {
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

	stores, err := store.New(store.Config{MaxAppend: 1000}, store.Deps{
		Mailboxes: db.Mailboxes(), Imports: db.Imports(), Leases: db.Leases(), Blobs: blobs, Notify: noNotices{}, Log: log,
		Metrics: prometheus.NewRegistry(), Now: time.Now,
	})
	check(t, err)
	dirs, err := directory.New(directory.Config{SCRAMIterations: credential.MinIterations, Slow: directory.SlowConfig{ClientFree: 1000}},
		directory.Deps{Store: people, Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now})
	check(t, err)
	conn := rpc.NewInside(log, nil)
	stores.Register(conn)
	dirs.Register(conn)
	conn.Serve()
	t.Cleanup(conn.Close)
	f := &farm{mailboxes: storev1.NewMailboxesClient(conn), leases: storev1.NewLeasesClient(conn), imports: storev1.NewImportsClient(conn), accounts: directoryv1.NewAccountsClient(conn)}
	_, err = f.accounts.AddDomain(ctx, &directoryv1.AddDomainRequest{Domain: &directoryv1.Domain{Name: "example.org"}})
	check(t, err)

	deps := pop3.Deps{
		Mailboxes: f.mailboxes, Bodies: storev1.NewBodiesClient(conn), Leases: f.leases, Imports: f.imports, Directory: directoryv1.NewDirectoryClient(conn),
		TLS: certificate(t), Log: log,
	}
	lax := pop3.Config{
		Listeners:         []front.Listener{{Address: "127.0.0.1:0"}, {Address: "127.0.0.1:0", ImplicitTLS: true}},
		PlaintextNetworks: []string{"127.0.0.0/8"}, MaxPerAddress: 1000, LockWait: time.Nanosecond,
	}
	strict := lax
	strict.PlaintextNetworks, strict.Listeners = nil, lax.Listeners[:1]
	if change != nil {
		change(&lax)
	}
	addrs := run(t, lax, deps)
	f.addr, f.secure = addrs[0], addrs[1]
	f.strict = run(t, strict, deps)[0]
	return f
}

// run starts a role and tells where it listens; it ends with the test.
func run(t testing.TB, cfg pop3.Config, deps pop3.Deps) (addrs []string) {
	t.Helper()
	deps.Metrics = prometheus.NewRegistry()
	deps.Listen = func(network, address string) (net.Listener, error) {
		ln, err := net.Listen(network, address)
		if err == nil {
			addrs = append(addrs, ln.Addr().String())
		}
		return ln, err
	}
	s, err := pop3.New(cfg, deps)
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		t.Fatalf("Run: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		check(t, <-done)
	})
	return addrs
}

func certificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	check(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

// user makes an account and gives its address and id.
func (f *farm) user(t testing.TB) (address string, id uint64) {
	t.Helper()
	address = fmt.Sprintf("user%d@example.org", f.users.Add(1))
	resp, err := f.accounts.AddAccount(context.Background(), &directoryv1.AddAccountRequest{Address: address, Password: password})
	check(t, err)
	return address, resp.Account.Id
}

// file puts messages into an account's INBOX.
func (f *farm) file(t testing.TB, account uint64, bodies ...string) {
	t.Helper()
	ctx := context.Background()
	_, err := f.mailboxes.List(ctx, &storev1.ListRequest{Account: account}) // makes the folders
	check(t, err)
	stream, err := f.mailboxes.Append(ctx)
	check(t, err)
	for _, b := range bodies {
		check(t, stream.Send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Start{Start: &storev1.AppendStart{Account: account, Mailbox: "INBOX", Size: int64(len(b))}}}))
		for len(b) > 0 {
			n := min(len(b), 64<<10)
			check(t, stream.Send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Data{Data: []byte(b[:n])}}))
			b = b[n:]
		}
		check(t, stream.Send(&storev1.AppendRequest{Part: &storev1.AppendRequest_End{End: true}}))
	}
	_, err = stream.CloseAndRecv()
	check(t, err)
}

// inbox tells the counters of an account's INBOX.
func (f *farm) inbox(t testing.TB, account uint64) *storev1.Mailbox {
	t.Helper()
	list, err := f.mailboxes.List(context.Background(), &storev1.ListRequest{Account: account})
	check(t, err)
	for _, m := range list.Mailboxes {
		if m.Name == "INBOX" {
			return m
		}
	}
	t.Fatal("there is no INBOX")
	return nil
}
