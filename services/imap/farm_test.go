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
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	accounts "github.com/mailfarm/mailfarm/internal/account/sqlite"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/credential"
	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/fulltext"
	fulltextdb "github.com/mailfarm/mailfarm/internal/fulltext/sqlite"
	"github.com/mailfarm/mailfarm/internal/index"
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

// farm is an imap role over the real store and directory, which it calls as `run all` does.
type farm struct {
	mailboxes   storev1.MailboxesClient
	guarded     storev1.MailboxesClient
	bodies      storev1.BodiesClient
	quotas      storev1.QuotasClient
	annotations storev1.AnnotationsClient
	keys        storev1.MailboxKeysClient
	sharing     storev1.SharingClient
	// conn leads to store and directory.
	conn grpc.ClientConnInterface
	// identities is asked by the store too, which is there before it.
	identities directoryv1.IdentitiesClient
	groups     directoryv1.GroupsClient
	directory  directoryv1.DirectoryClient
	accounts   directoryv1.AccountsClient
	notices    *notices
	// fullText is the index's service; it has nothing before work.
	fullText storev1.FullTextClient
	// metrics are those of the role at addr.
	metrics *prometheus.Registry
	tls     *tls.Config
	// now is the clock of imap roles that are started from now on; nil: the real one.
	now func() time.Time

	// addr is the listener that takes passwords in clear, strict the one that does not, secure the one with implicit TLS.
	addr, strict, secure string
	stop                 func()
	// roles are both.
	roles []*imapsvc.Service
	// work runs the store's workers.
	work  func(testing.TB)
	users atomic.Int64
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

// lateIdentities is the directory for the store.
type lateIdentities struct{ f *farm }

func (l lateIdentities) Identify(ctx context.Context, in *directoryv1.IdentifyRequest, opts ...grpc.CallOption) (*directoryv1.IdentifyResponse, error) {
	return l.f.identities.Identify(ctx, in, opts...)
}

// database is what the store keeps mailboxes in.
type database struct {
	mailboxes interface {
		index.Mailboxes
		index.Quotas
	}
	annotations index.Annotations
	leases      index.Leases
	sharing     index.Sharing
	survey      index.Survey
}

// inSQLite opens a database in a file.
func inSQLite(t testing.TB) database {
	t.Helper()
	db, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "index.db"), sqlite.Options{})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	return database{db.Mailboxes(), db.Annotations(), db.Leases(), db.Sharing(), db.Retention()}
}

// startFarm starts everything; cfg may be nil.
func startFarm(t testing.TB, change func(*imapsvc.Config)) *farm {
	t.Helper()
	return startFarmOn(t, inSQLite(t), change)
}

// startFarmOn is startFarm over a database.
func startFarmOn(t testing.TB, db database, change func(*imapsvc.Config)) *farm {
	t.Helper()
	ctx := context.Background()
	folder := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	blobs, err := dir.Open(ctx, filepath.Join(folder, "blobs"), dir.Options{Log: log})
	check(t, err)
	t.Cleanup(func() { check(t, blobs.Close()) })
	people, err := accounts.Open(ctx, filepath.Join(folder, "directory.db"))
	check(t, err)
	t.Cleanup(func() { check(t, people.Close()) })

	f := &farm{notices: &notices{subs: map[uint64]map[int]func(*mailv1.MailboxChanged){}}}
	stores, err := store.New(store.Config{MaxAppend: 1000}, store.Deps{
		Mailboxes: db.mailboxes, Quotas: db.mailboxes, Annotations: db.annotations, Leases: db.leases, Blobs: blobs, Notify: f.notices, Log: log,
		Sharing: db.sharing, Directory: lateIdentities{f}, Metrics: prometheus.NewRegistry(), Now: time.Now,
	})
	check(t, err)
	texts, err := fulltextdb.Open(ctx, filepath.Join(folder, "fulltext.db"))
	check(t, err)
	t.Cleanup(func() { check(t, texts.Close()) })
	check(t, stores.AddFullText(store.FullTextConfig{Delay: time.Millisecond, SweepEvery: 20 * time.Millisecond, Share: 100}, store.FullTextDeps{
		Index: fulltext.New(texts), Survey: db.survey, Leases: db.leases, Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now, Holder: "a",
	}))
	dirs, err := directory.New(directory.Config{SCRAMIterations: credential.MinIterations}, directory.Deps{
		Store: people, Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now,
	})
	check(t, err)
	conn := rpc.NewInside(log, nil)
	stores.Register(conn)
	dirs.Register(conn)
	conn.Serve()
	t.Cleanup(conn.Close)
	f.fullText = storev1.NewFullTextClient(conn)
	f.work = func(t testing.TB) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- stores.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			check(t, <-done)
		})
	}
	f.mailboxes, f.bodies, f.quotas = storev1.NewMailboxesClient(conn), storev1.NewBodiesClient(conn), storev1.NewQuotasClient(conn)
	f.directory, f.accounts = directoryv1.NewDirectoryClient(conn), directoryv1.NewAccountsClient(conn)
	f.annotations, f.keys = storev1.NewAnnotationsClient(conn), storev1.NewMailboxKeysClient(conn)
	f.conn = conn
	f.guarded = storev1.NewMailboxesClient(rpc.RenamedConn{ClientConnInterface: conn, Name: rpc.GuardedMailboxes})
	f.sharing, f.identities, f.groups = storev1.NewSharingClient(conn), directoryv1.NewIdentitiesClient(conn), directoryv1.NewGroupsClient(conn)
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
	cfg := imapsvc.Config{
		Listeners:         []front.Listener{{Address: "127.0.0.1:0"}, {Address: "127.0.0.1:0", ImplicitTLS: true}},
		PlaintextNetworks: []string{"127.0.0.0/8"},
		MaxPerAddress:     5000,
		AdminContact:      "mailto:postmaster@example.org",
	}
	if change != nil {
		change(&cfg)
	}
	strict := cfg
	strict.PlaintextNetworks = nil
	strict.Listeners = strict.Listeners[:1]
	f.metrics = prometheus.NewRegistry()
	stop2 := f.run(t, strict, &addrs[2])
	f.metrics = prometheus.NewRegistry()
	stop1 := f.run(t, cfg, &addrs[0], &addrs[1])
	f.addr, f.secure, f.strict = addrs[0], addrs[1], addrs[2]
	f.stop = func() { stop1(); stop2() }
	t.Cleanup(f.stop)
}

// another starts one more imap role, as in another process, and returns where it takes passwords in clear.
func (f *farm) another(t testing.TB) (addr string) {
	t.Helper()
	f.metrics = prometheus.NewRegistry()
	t.Cleanup(f.run(t, imapsvc.Config{Listeners: []front.Listener{{Address: "127.0.0.1:0"}}, PlaintextNetworks: []string{"127.0.0.0/8"}, MaxPerAddress: 5000}, &addr))
	return addr
}

// run starts an imap role, which writes down where it listens, and returns how to stop it.
func (f *farm) run(t testing.TB, cfg imapsvc.Config, at ...*string) (stop func()) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	svc, err := imapsvc.New(cfg, imapsvc.Deps{
		Mailboxes: f.mailboxes, Guarded: f.guarded, Bodies: f.bodies, Quotas: f.quotas, Directory: f.directory, Notices: f.notices, TLS: f.tls, FullText: f.fullText,
		Sharing: f.sharing, Identities: f.identities, Annotations: f.annotations, Keys: f.keys, Now: f.now,
		Log: slog.New(slog.DiscardHandler), Metrics: f.metrics,
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
	f.roles = append(f.roles, svc)
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
		}
	})
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
			for data := range slices.Chunk([]byte(m), 8<<20) {
				check(t, stream.Send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Data{Data: data}}))
			}
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
