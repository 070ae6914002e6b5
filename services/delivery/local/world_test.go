package local

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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
	"github.com/mailfarm/mailfarm/internal/rpc"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// patience is how long a test waits for what must come.
	patience = 20 * time.Second
	// quota is how many messages an account has room for.
	quota = 5
	bob   = 7
)

// world is the role over the real store, blob directory and bus.
type world struct {
	t         testing.TB
	db        *sqlite.DB
	blobs     *dir.Store
	conn      *bus.Conn
	mailboxes storev1.MailboxesClient
	bodies    storev1.BodiesClient
	ledger    storev1.LedgerClient
	events    chan *mailv1.TraceEvent
	handled   chan struct{}
	passed    atomic.Int64
	cfg       Config
	deps      Deps
	stop      func()
}

func (w *world) now() time.Time       { return time.Now().Add(time.Duration(w.passed.Load())) }
func (w *world) pass(d time.Duration) { w.passed.Add(int64(d)) }

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// Emit is obs.Tracer's.
func (w *world) Emit(ev *mailv1.TraceEvent) { w.events <- ev }

// newWorld starts everything; change may be nil.
func newWorld(t testing.TB, change func(*world)) *world {
	t.Helper()
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	w := &world{t: t, events: make(chan *mailv1.TraceEvent, 1<<17), handled: make(chan struct{}, 1<<17)}
	folder := t.TempDir()
	var err error
	room := int64(quota)
	if _, ok := t.(*testing.B); ok {
		room = 0
	}
	w.db, err = sqlite.Open(ctx, filepath.Join(folder, "index.db"), sqlite.Options{Now: w.now, QuotaMessages: room})
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
	w.mailboxes, w.bodies, w.ledger = storev1.NewMailboxesClient(loop), storev1.NewBodiesClient(loop), storev1.NewLedgerClient(loop)

	w.cfg = Config{Retry: []time.Duration{time.Minute, time.Hour}}
	w.deps = Deps{Bus: w, Mailboxes: w.mailboxes, Ledger: w.ledger, Trace: w, Log: log, Metrics: prometheus.NewRegistry(), Now: w.now,
		DSN: &bounce.Writer{Blobs: w.blobs, Hostname: "mail.example.org", Now: w.now}}
	if change != nil {
		change(w)
	}
	service, err := New(w.cfg, w.deps)
	w.check(err)
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- service.Run(running) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			w.check(err)
		case <-time.After(patience):
			w.t.Error("the role does not stop")
		}
	})
	t.Cleanup(func() { w.stop() })
	return w
}

// in lets the world complain to a test within the one that began it.
func (w *world) in(t testing.TB) (back func()) {
	was := w.t
	w.t = t
	return func() { w.t = was }
}

const body = "From: alice@example.net\r\nAuthentication-Results: forged\r\nSubject: lunch\r\nMessage-ID: <1@example.net>\r\n\r\nLet us have lunch.\r\n"

// letter is a message to one recipient with a mailbox here; change may be nil. Five hours later it is given up.
func (w *world) letter(account uint64, change func(*mailv1.Accepted, *storev1.RecipientRow)) *mailv1.LocalWork {
	w.t.Helper()
	id := envelope.NewQueueID(w.now())
	var x message.Indexer
	x.Reset()
	x.Write([]byte(body))
	ix, err := x.Finish()
	w.check(err)
	env := &mailv1.Envelope{QueueId: id[:], ReversePath: "alice@example.net", Size: int64(len(body)), AcceptedNs: w.now().UnixNano(),
		Kind: mailv1.Kind_KIND_ACCEPTED, MessageId: "<1@example.net>", Recipients: []*mailv1.Recipient{{ForwardPath: "bob@example.org"}}}
	m := &mailv1.Accepted{QueueId: id[:], Envelope: env, Verdict: &mailv1.Verdict{Action: mailv1.Action_ACTION_ACCEPT}, PartIndex: ix.Encode(nil),
		Overlay: &mailv1.Overlay{Prefix: []byte("Received: from client\r\n")}}
	row := &storev1.RecipientRow{ForwardPath: "bob@example.org", State: storev1.State_STATE_QUEUED, Destination: storev1.Destination_DESTINATION_LOCAL,
		Account: account, DueNs: w.now().Add(time.Minute).UnixNano(), ExpiryNs: w.now().Add(5 * time.Hour).UnixNano()}
	if change != nil {
		change(m, row)
	}
	tail, err := proto.Marshal(&mailv1.FrameTail{Envelope: env, PartIndex: m.PartIndex})
	w.check(err)
	draft, err := w.blobs.Create(blob.ID{})
	w.check(err)
	_, err = draft.Write([]byte(body))
	w.check(err)
	at, err := draft.Commit(context.Background(), blob.Meta{Kind: blob.Accepted, QueueID: id, Tail: tail})
	w.check(err)
	m.BlobId = at.Bytes()
	resp, err := w.ledger.Record(context.Background(), &storev1.RecordRequest{Messages: []*storev1.Routed{{Message: m, Recipients: []*storev1.RecipientRow{row}}}})
	w.check(err)
	row = resp.Results[0].Recipients[0]
	return &mailv1.LocalWork{QueueId: id[:], Number: row.Number, Generation: row.Generation, Account: row.Account, Message: m,
		ForwardPath: row.ForwardPath, Notify: row.Notify, Orcpt: row.Orcpt}
}

func (w *world) publish(work ...*mailv1.LocalWork) {
	w.t.Helper()
	keys, payloads := make([]uint64, len(work)), make([][]byte, len(work))
	for i, j := range work {
		var err error
		keys[i] = j.Account
		payloads[i], err = proto.Marshal(j)
		w.check(err)
	}
	w.check(w.conn.PublishAll(context.Background(), bus.Local, keys, payloads))
}

// sweep hints what is due, as the store does.
func (w *world) sweep() int {
	w.t.Helper()
	due, err := w.db.Ledger().Sweep(context.Background(), ledger.SweepAll, 1000, time.Minute)
	w.check(err)
	w.publish(due.Local...)
	return due.Rows
}

// wait waits for n outcomes.
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

// Consume is the bus's, with a count of the work that was handled.
func (w *world) Consume(ctx context.Context, c bus.Consumer, h bus.Handler) error {
	return w.conn.Consume(ctx, c, func(ctx context.Context, batch []*bus.Work) {
		h(ctx, batch)
		for range batch {
			w.handled <- struct{}{}
		}
	})
}

// handle waits until n more pieces of work were handled.
func (w *world) handle(n int) {
	w.t.Helper()
	timeout := time.After(patience)
	for range n {
		select {
		case <-w.handled:
		case <-timeout:
			w.t.Fatal("the work is not handled")
		}
	}
}

func (w *world) row(work *mailv1.LocalWork) *storev1.RecipientRow {
	w.t.Helper()
	resp, err := w.ledger.Load(context.Background(), &storev1.LoadRequest{QueueIds: [][]byte{work.QueueId}})
	w.check(err)
	return resp.Entries[0].Recipients[0]
}

// settled waits until a recipient is no longer queued.
func (w *world) settled(work *mailv1.LocalWork) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); w.row(work).State == storev1.State_STATE_QUEUED; {
		if time.Now().After(deadline) {
			w.t.Fatal("still queued")
		}
	}
}

// want compares a recipient's state.
func (w *world) want(work *mailv1.LocalWork, want string) {
	w.t.Helper()
	r := w.row(work)
	if got := strings.TrimSpace(strings.ToLower(strings.TrimPrefix(r.State.String(), "STATE_")) + " " + r.LastReply); got != want {
		w.t.Errorf("got %q, want %q", got, want)
	}
}

// boxes tells how many messages each mailbox of an account has: "INBOX 1, Junk 2".
func (w *world) boxes(account uint64) string {
	w.t.Helper()
	resp, err := w.mailboxes.List(context.Background(), &storev1.ListRequest{Account: account})
	w.check(err)
	var parts []string
	for _, m := range resp.Mailboxes {
		if m.Messages > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", m.Name, m.Messages))
		}
	}
	return strings.Join(parts, ", ")
}

// text is the message that a call filed as its reader sees it.
func (w *world) text(account, email uint64) string {
	w.t.Helper()
	ctx := context.Background()
	stream, err := w.mailboxes.Emails(ctx, &storev1.EmailsRequest{Account: account, Emails: []uint64{email}})
	w.check(err)
	resp, err := stream.Recv()
	w.check(err)
	e := resp.Emails[0]
	parts, err := w.bodies.Open(ctx, &storev1.OpenRequest{Ranges: []*storev1.BodyRange{{BlobId: e.BlobId, Overlay: e.Overlay, Length: -1}}})
	w.check(err)
	var text strings.Builder
	for {
		p, err := parts.Recv()
		if err == io.EOF {
			return text.String()
		}
		w.check(err)
		text.Write(p.Data)
	}
}

// children takes the DSNs out of the outbox.
func (w *world) children() (texts []string) {
	w.t.Helper()
	ctx := context.Background()
	children, err := w.db.Ledger().TakeOutbox(ctx, 1000, time.Hour)
	w.check(err)
	w.check(w.db.Ledger().DropOutbox(ctx, children))
	for _, c := range children {
		var a mailv1.Accepted
		w.check(proto.Unmarshal(c.Payload, &a))
		id, err := blob.IDFrom(a.BlobId)
		w.check(err)
		f, err := w.blobs.Open(ctx, id)
		w.check(err)
		text, err := io.ReadAll(f.Reader())
		w.check(err)
		w.check(f.Close())
		texts = append(texts, string(text))
	}
	return texts
}
