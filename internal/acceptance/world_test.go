package acceptance_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/rpc"
	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// world is an acceptor with a real blob directory, a filter over gRPC and a bus that remembers.
type world struct {
	t     *testing.T
	a     *acceptance.Acceptor
	store *dir.Store
	blobs *brokenStore
	bus   *fakeBus
	trace *traces
}

func newWorld(t *testing.T, cfg acceptance.Config, role acceptance.Role, filter filterv1.FilterServer) *world {
	t.Helper()
	store, err := dir.Open(t.Context(), t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	w := &world{t: t, store: store, blobs: &brokenStore{Drafts: store}, bus: newFakeBus(), trace: &traces{}}
	deps := acceptance.Deps{Blobs: w.blobs, Bus: w.bus, Trace: w.trace}
	if filter != nil {
		srv := rpc.NewServer(slog.New(slog.DiscardHandler))
		filterv1.RegisterFilterServer(srv, filter)
		conn, stop, err := rpc.Local(srv)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		deps.Filter = filterv1.NewFilterClient(conn)
	}
	if w.a, err = acceptance.New(role, "mx.example.org", cfg, deps); err != nil {
		t.Fatal(err)
	}
	return w
}

// run runs the acceptor until the test's end, or until the returned function is called.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

func newEnvelope(rcpts ...string) *mailv1.Envelope {
	id := envelope.NewQueueID(time.Now())
	env := &mailv1.Envelope{
		QueueId: id[:], ReversePath: "sender@remote.example", EightBit: true,
		Client: &mailv1.Client{
			Address: "192.0.2.7", Helo: "client.remote.example", Protocol: "ESMTPS", TlsVersion: "TLS1.3",
			TlsCipher: "TLS_AES_128_GCM_SHA256", ConnId: "c1",
		},
	}
	for i, r := range rcpts {
		env.Recipients = append(env.Recipients, &mailv1.Recipient{Number: uint32(i), ForwardPath: r})
	}
	return env
}

// send takes body in pieces and commits.
func (w *world) send(env *mailv1.Envelope, opts acceptance.Options, body string) (string, error) {
	m, err := w.a.Begin(w.t.Context(), env, opts)
	if err != nil {
		return "", err
	}
	for piece := range slices.Chunk([]byte(body), 5000) {
		if _, err := m.Write(piece); err != nil {
			m.Abort()
			return "", err
		}
	}
	return m.Commit(w.t.Context())
}

// frames are the durable ones.
func (w *world) frames() []blob.Scanned {
	w.t.Helper()
	var all []blob.Scanned
	incarnations, err := w.store.Incarnations(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, inc := range incarnations {
		_, err := w.store.Scan(w.t.Context(), blob.Position{Incarnation: inc.ID}, func(s blob.Scanned) error {
			all = append(all, s)
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	return all
}

func (w *world) tail(s blob.Scanned) *mailv1.FrameTail {
	w.t.Helper()
	tail := &mailv1.FrameTail{}
	if err := proto.Unmarshal(s.Meta.Tail, tail); err != nil {
		w.t.Fatal(err)
	}
	return tail
}

// seen is the message as readers see it.
func (w *world) seen(s blob.Scanned) string {
	w.t.Helper()
	f, err := w.store.Open(w.t.Context(), s.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(message.NewReader(message.OverlayFrom(w.tail(s).GetOverlay()), f.Body, f.Size))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// brokenStore fails when told to.
type brokenStore struct {
	acceptance.Drafts
	create, write, commit error
}

func (s *brokenStore) Create(body blob.ID) (blob.Draft, error) {
	if s.create != nil {
		return nil, s.create
	}
	d, err := s.Drafts.Create(body)
	return &brokenDraft{d, s}, err
}

type brokenDraft struct {
	blob.Draft
	s *brokenStore
}

func (d *brokenDraft) Write(p []byte) (int, error) {
	if d.s.write != nil {
		return 0, d.s.write
	}
	return d.Draft.Write(p)
}

func (d *brokenDraft) Commit(ctx context.Context, meta blob.Meta) (blob.ID, error) {
	if d.s.commit != nil {
		d.Draft.Discard()
		return blob.ID{}, d.s.commit
	}
	return d.Draft.Commit(ctx, meta)
}

// fakeBus remembers what it was given, or is away.
type fakeBus struct {
	mu    sync.Mutex
	away  bool
	got   map[bus.Subject][]*mailv1.Accepted
	calls int
	came  chan struct{} // one for each message
}

func newFakeBus() *fakeBus {
	return &fakeBus{got: map[bus.Subject][]*mailv1.Accepted{}, came: make(chan struct{}, 1000)}
}

var errAway = errors.New("no servers available")

func (b *fakeBus) PublishAll(_ context.Context, s bus.Subject, keys []uint64, payloads [][]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.away {
		return errAway
	}
	for _, p := range payloads {
		msg := &mailv1.Accepted{}
		if err := proto.Unmarshal(p, msg); err != nil || len(keys) != len(payloads) {
			panic("undecodable payload")
		}
		b.got[s] = append(b.got[s], msg)
		b.came <- struct{}{}
	}
	return nil
}

func (b *fakeBus) set(away bool) {
	b.mu.Lock()
	b.away = away
	b.mu.Unlock()
}

// wait waits for n messages.
func (b *fakeBus) wait(t *testing.T, n int) {
	t.Helper()
	for range n {
		select {
		case <-b.came:
		case <-time.After(time.Minute):
			t.Fatal("nothing was published")
		}
	}
}

func (b *fakeBus) on(s bus.Subject) []*mailv1.Accepted {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got[s])
}

type traces struct {
	mu  sync.Mutex
	all []*mailv1.TraceEvent
}

func (t *traces) Emit(ev *mailv1.TraceEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, ev)
}

// filterFunc judges the whole body at once.
type filterFunc struct {
	filterv1.UnimplementedFilterServer
	judge func(ctx context.Context, start *filterv1.CheckStart, body []byte) (*mailv1.Verdict, error)
	// early, where it is set, is asked instead before the body comes.
	early func() (*mailv1.Verdict, error)
}

func (f *filterFunc) Check(stream filterv1.Filter_CheckServer) error {
	if f.early != nil {
		v, err := f.early()
		if err != nil {
			return err
		}
		return stream.SendAndClose(&filterv1.CheckResponse{Verdict: v})
	}
	var start *filterv1.CheckStart
	var body []byte
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if s := req.GetStart(); s != nil {
			start = s
		}
		body = append(body, req.GetData()...)
	}
	v, err := f.judge(stream.Context(), start, body)
	if err != nil {
		return err
	}
	return stream.SendAndClose(&filterv1.CheckResponse{Verdict: v})
}

func verdict(action mailv1.Action, reply string) *filterFunc {
	return &filterFunc{judge: func(context.Context, *filterv1.CheckStart, []byte) (*mailv1.Verdict, error) {
		return &mailv1.Verdict{Action: action, Reply: reply}, nil
	}}
}
