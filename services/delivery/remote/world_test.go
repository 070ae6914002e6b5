package remote

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/bounce"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/bus/embedded"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/resolve"
	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/internal/rpc"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// hostname is ours.
const hostname = "out.example.org"

// world is the role over a real ledger, blob directory, bus and resolver; peers are the test's.
type world struct {
	t       testing.TB
	db      *sqlite.DB
	blobs   *dir.Store
	conn    *bus.Conn
	dns     *dnstest.Server
	ledger  storev1.LedgerClient
	net     *network
	events  chan *mailv1.TraceEvent
	looked  chan struct{}
	passed  atomic.Int64 // how far the clock is ahead
	cfg     Config
	deps    Deps
	service *Service
	stop    func()
}

// in lets the world complain to a test within the one that began it.
func (w *world) in(t testing.TB) (back func()) {
	was := w.t
	w.t = t
	return func() { w.t = was }
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.passed.Load())) }

func (w *world) pass(d time.Duration) { w.passed.Add(int64(d)) }

// zone is the DNS of all tests: mail for example.net goes to 192.0.2.1.
const zone = `
example.net. 60 IN MX 10 mx1.example.net.
mx1.example.net. 60 IN A 192.0.2.1
`

// newWorld starts all but the role; change may be nil.
func newWorld(t testing.TB, moreZone string, change func(*world)) *world {
	t.Helper()
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	w := &world{t: t, net: &network{t: t, hosts: map[string]func(net.Conn){}}, events: make(chan *mailv1.TraceEvent, 1<<16), looked: make(chan struct{}, 1<<16)}
	folder := t.TempDir()
	var err error
	w.db, err = sqlite.Open(ctx, filepath.Join(folder, "index.db"), sqlite.Options{Now: w.now})
	w.check(err)
	t.Cleanup(func() { w.check(w.db.Close()) })
	w.blobs, err = dir.Open(ctx, filepath.Join(folder, "blobs"), dir.Options{Log: log})
	w.check(err)
	t.Cleanup(func() { w.check(w.blobs.Close()) })
	server, err := embedded.Start(filepath.Join(folder, "bus"), "")
	w.check(err)
	t.Cleanup(server.Close)
	w.conn, err = bus.Connect(ctx, bus.Config{PoisonLimit: 3, PoisonDelay: 5 * time.Millisecond}, log, server.Option())
	w.check(err)
	t.Cleanup(func() { w.conn.Close(ctx) })

	stores, err := store.New(store.Config{}, store.Deps{Mailboxes: w.db.Mailboxes(), Leases: w.db.Leases(), Blobs: w.blobs, Notify: w.conn,
		Log: log, Metrics: prometheus.NewRegistry(), Now: w.now})
	w.check(err)
	w.check(stores.AddLedger(store.LedgerConfig{}, store.LedgerDeps{Ledger: w.db.Ledger(), Leases: w.db.Leases(), Blobs: w.blobs, Bus: w.conn,
		Log: log, Metrics: prometheus.NewRegistry(), Now: w.now, Holder: "test"}))
	srv := rpc.NewServer(log)
	stores.Register(srv)
	loop, stop, err := rpc.Local(srv)
	w.check(err)
	t.Cleanup(stop)
	w.ledger = storev1.NewLedgerClient(loop)

	w.dns = dnstest.Start(t, zone+moreZone)
	resolver, err := resolve.New(resolve.Config{Servers: []string{w.dns.Addr()}, Timeout: time.Second}, resolve.Deps{})
	w.check(err)
	t.Cleanup(func() { w.check(resolver.Close()) })

	w.cfg = Config{Hostname: hostname, KeepConnection: 100 * time.Millisecond, Retry: []time.Duration{time.Minute, time.Hour}}
	w.deps = Deps{
		Bus: w, Ledger: w.ledger, Frames: w.blobs, DSN: &bounce.Writer{Blobs: w.blobs, Hostname: hostname, Now: w.now},
		Resolve: resolver, Dial: w.net, Trace: w, Log: log, Now: w.now, Owner: "test",
	}
	if change != nil {
		change(w)
	}
	w.start()
	return w
}

// start starts the role; stop ends it.
func (w *world) start() {
	w.t.Helper()
	w.deps.Metrics = prometheus.NewRegistry()
	service, err := New(w.cfg, w.deps)
	w.check(err)
	w.service = service
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			w.check(err)
		case <-time.After(patience):
			w.t.Error("the role does not stop")
		}
	})
	w.t.Cleanup(func() { w.stop() })
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// Emit is obs.Tracer's.
func (w *world) Emit(ev *mailv1.TraceEvent) { w.events <- ev }

// wait waits for n outcomes and gives them as "deferred bob@example.net 192.0.2.1 451 4.3.0 text".
func (w *world) wait(n int) (lines []string) {
	w.t.Helper()
	timeout := time.After(patience)
	for len(lines) < n {
		select {
		case ev := <-w.events:
			lines = append(lines, ev.Event+" "+ev.ForwardPath+" "+ev.Detail)
		case <-timeout:
			w.t.Fatalf("%d of %d outcomes came: %q", len(lines), n, lines)
		}
	}
	return lines
}

// mail is a message on its way out.
type mail struct {
	id   envelope.QueueID
	body string
}

// letterTo is a message to recipients from alice.
func letterTo(recipients ...string) *mailv1.Envelope {
	env := &mailv1.Envelope{ReversePath: "alice@example.org"}
	for i, r := range recipients {
		env.Recipients = append(env.Recipients, &mailv1.Recipient{Number: uint32(i), ForwardPath: r})
	}
	return env
}

const body = "From: alice@example.org\r\nTo: bob@example.net\r\nSubject: lunch\r\nMessage-ID: <1@example.org>\r\n\r\nLet us have lunch.\r\n.a line with a dot\r\n"

// accept stores a message and its rows, as submission and router do. One hour later it is given up.
func (w *world) accept(env *mailv1.Envelope, text string) mail {
	w.t.Helper()
	id := envelope.NewQueueID(w.now())
	var x message.Indexer
	x.Reset()
	x.Write([]byte(text))
	ix, err := x.Finish()
	w.check(err)
	env.QueueId, env.Size, env.AcceptedNs, env.Kind, env.MessageId = id[:], int64(len(text)), w.now().UnixNano(), mailv1.Kind_KIND_ACCEPTED, "<1@example.org>"
	overlay := &mailv1.Overlay{Prefix: []byte("Received: from client by " + hostname + "\r\n")}
	tail, err := proto.Marshal(&mailv1.FrameTail{Envelope: env, Overlay: overlay, PartIndex: ix.Encode(nil)})
	w.check(err)
	draft, err := w.blobs.Create(blob.ID{})
	w.check(err)
	_, err = draft.Write([]byte(text))
	w.check(err)
	at, err := draft.Commit(context.Background(), blob.Meta{Kind: blob.Accepted, QueueID: id, Tail: tail})
	w.check(err)
	routed := &storev1.Routed{Message: &mailv1.Accepted{QueueId: id[:], BlobId: at.Bytes(), Envelope: env, Overlay: overlay}}
	for _, r := range env.Recipients {
		routed.Recipients = append(routed.Recipients, &storev1.RecipientRow{
			Number: r.Number, ForwardPath: r.ForwardPath, Notify: r.Notify, Orcpt: r.Orcpt, State: storev1.State_STATE_QUEUED,
			Destination: storev1.Destination_DESTINATION_REMOTE, Group: envelope.ForwardPath(r.ForwardPath).Domain(),
			DueNs: w.now().Add(time.Minute).UnixNano(), ExpiryNs: w.now().Add(5 * time.Hour).UnixNano(),
		})
	}
	resp, err := w.ledger.Record(context.Background(), &storev1.RecordRequest{Messages: []*storev1.Routed{routed}})
	w.check(err)
	if !resp.Results[0].Recorded {
		w.t.Fatalf("not recorded: %v", resp.Results[0])
	}
	return mail{id, string(overlay.Prefix) + text}
}

// hint publishes hints of a message's groups as they stand.
func (w *world) hint(m mail) {
	w.t.Helper()
	seen := map[workKey]bool{}
	for _, row := range w.rows(m) {
		if k := (workKey{m.id, row.Group, row.Generation}); !seen[k] {
			seen[k] = true
			w.publish(&mailv1.RemoteWork{QueueId: m.id[:], Group: row.Group, Generation: row.Generation})
		}
	}
}

func (w *world) publish(work *mailv1.RemoteWork) {
	w.t.Helper()
	payload, err := proto.Marshal(work)
	w.check(err)
	w.check(w.conn.Publish(context.Background(), bus.Remote, ledger.GroupKey(work.Group), payload))
}

// send accepts and hints.
func (w *world) send(env *mailv1.Envelope, text string) mail {
	w.t.Helper()
	m := w.accept(env, text)
	w.hint(m)
	return m
}

// sweep hints what is due, as the store does.
func (w *world) sweep() int {
	w.t.Helper()
	due, err := w.db.Ledger().Sweep(context.Background(), ledger.SweepAll, 1000, time.Minute)
	w.check(err)
	for _, work := range due.Remote {
		w.publish(work)
	}
	return due.Rows
}

// Consume is the bus's, with a count of the hints that were looked through.
func (w *world) Consume(ctx context.Context, c bus.Consumer, h bus.Handler) error {
	return w.conn.Consume(ctx, c, func(ctx context.Context, batch []*bus.Work) {
		h(ctx, batch)
		for range batch {
			w.looked <- struct{}{}
		}
	})
}

// look waits until n more hints were looked through.
func (w *world) look(n int) {
	w.t.Helper()
	timeout := time.After(patience)
	for range n {
		select {
		case <-w.looked:
		case <-timeout:
			w.t.Fatal("the hints are not looked through")
		}
	}
}

// idle ends the connections that wait.
func (w *world) idle() {
	p := w.service.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conns := range p.idle {
		for _, c := range conns {
			c.timer.Stop()
			c.raw.Close()
		}
	}
	clear(p.idle)
	p.count = 0
}

func (w *world) rows(m mail) []*storev1.RecipientRow {
	w.t.Helper()
	resp, err := w.ledger.Load(context.Background(), &storev1.LoadRequest{QueueIds: [][]byte{m.id[:]}})
	w.check(err)
	return resp.Entries[0].Recipients
}

// states is each recipient's state and last reply.
func (w *world) states(m mail) (list []string) {
	w.t.Helper()
	for _, r := range w.rows(m) {
		list = append(list, strings.ToLower(strings.TrimPrefix(r.State.String(), "STATE_"))+" "+r.LastReply)
	}
	return list
}

// want compares a message's states.
func (w *world) want(m mail, want ...string) {
	w.t.Helper()
	if got := w.states(m); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		w.t.Errorf("states:\n got %q\nwant %q", got, want)
	}
}

// children takes the DSNs out of the outbox.
func (w *world) children() (texts []string) {
	w.t.Helper()
	children, err := w.db.Ledger().TakeOutbox(context.Background(), 100, time.Hour)
	w.check(err)
	w.check(w.db.Ledger().DropOutbox(context.Background(), children))
	for _, c := range children {
		var a mailv1.Accepted
		w.check(proto.Unmarshal(c.Payload, &a))
		id, err := blob.IDFrom(a.BlobId)
		w.check(err)
		f, err := w.blobs.Open(context.Background(), id)
		w.check(err)
		text := make([]byte, f.Size)
		_, err = f.Reader().Read(text)
		w.check(err)
		w.check(f.Close())
		texts = append(texts, string(text))
	}
	return texts
}

// network is the internet: every address is a function of the test's.
type network struct {
	t     testing.TB
	mu    sync.Mutex
	hosts map[string]func(net.Conn) // guarded by mu, by "ip:port"
	calls []string                  // guarded by mu
	wg    sync.WaitGroup
	// pipe makes connections without buffers, for tests in a bubble.
	pipe bool
}

// at lets serve answer connections to an address.
func (n *network) at(ip string, serve func(net.Conn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[net.JoinHostPort(ip, "25")] = serve
}

// only replaces all hosts, and forgets what was called.
func (n *network) only(hosts map[string]func(net.Conn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts, n.calls = map[string]func(net.Conn){}, nil
	for ip, serve := range hosts {
		n.hosts[net.JoinHostPort(ip, "25")] = serve
	}
}

// dialed lists the addresses that were called.
func (n *network) dialed() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.calls...)
}

// DialContext is Dialer's.
func (n *network) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	serve := n.hosts[address]
	n.calls = append(n.calls, address)
	n.mu.Unlock()
	if serve == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	ours, theirs := net.Pipe()
	if !n.pipe {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		if ours, err = net.Dial("tcp", l.Addr().String()); err != nil {
			return nil, err
		}
		if theirs, err = l.Accept(); err != nil {
			return nil, err
		}
	}
	n.wg.Go(func() {
		defer theirs.Close()
		serve(theirs)
	})
	return ours, nil
}
