package filter

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// fakeBus keeps what is published.
type fakeBus struct {
	mu        sync.Mutex
	err       error
	published []*mailv1.Accepted // guarded by mu
}

func (b *fakeBus) Consume(ctx context.Context, _ bus.Consumer, _ bus.Handler) error {
	<-ctx.Done()
	return nil
}

func (b *fakeBus) PublishAll(_ context.Context, s bus.Subject, keys []uint64, payloads [][]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	if s != bus.Filtered || len(keys) != len(payloads) {
		return errors.New("wrong subject or number of keys")
	}
	for _, p := range payloads {
		m := &mailv1.Accepted{}
		if err := proto.Unmarshal(p, m); err != nil {
			return err
		}
		b.published = append(b.published, m)
	}
	return nil
}

// fakeBodies is a blob store in memory.
type fakeBodies struct {
	t      testing.TB
	frames map[blob.ID]fakeFrame
	err    error
}

type fakeFrame struct {
	meta blob.Meta
	body io.ReaderAt
	size int64
}

func newFakeBodies(t testing.TB) *fakeBodies {
	return &fakeBodies{t: t, frames: map[blob.ID]fakeFrame{}}
}

func (b *fakeBodies) Open(_ context.Context, id blob.ID) (*blob.Frame, error) {
	if b.err != nil {
		return nil, b.err
	}
	f, ok := b.frames[id]
	if !ok {
		return nil, blob.ErrNotFound
	}
	return &blob.Frame{ID: id, Meta: f.meta, Size: f.size, Body: closer{f.body}}, nil
}

type closer struct{ io.ReaderAt }

func (closer) Close() error { return nil }

// body is octets that may fail or panic when read.
type body struct {
	text   string
	err    error
	panics bool
}

func (b body) ReadAt(p []byte, off int64) (int, error) {
	if b.panics {
		panic("a body that panics")
	}
	if b.err != nil {
		return 0, b.err
	}
	if off >= int64(len(b.text)) {
		return 0, io.EOF
	}
	n := copy(p, b.text[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// put stores a body and returns the message for it.
func (b *fakeBodies) put(env *mailv1.Envelope, body body, kind blob.Kind) *mailv1.Accepted {
	id := blob.ID{Incarnation: 1, Offset: uint32(len(b.frames))}
	tail, err := proto.Marshal(&mailv1.FrameTail{Envelope: env})
	if err != nil {
		b.t.Fatal(err)
	}
	b.frames[id] = fakeFrame{meta: blob.Meta{Kind: kind, QueueID: envelope.QueueID(env.QueueId), Tail: tail}, body: body, size: int64(max(len(body.text), 1))}
	if body.text != "" {
		b.frames[id] = fakeFrame{meta: b.frames[id].meta, body: body, size: int64(len(body.text))}
	}
	return &mailv1.Accepted{QueueId: env.QueueId, BlobId: id.Bytes(), Envelope: env, PartIndex: []byte("index")}
}

// fakeWork remembers how it ended.
type fakeWork struct {
	data  []byte
	ended string
}

func (w *fakeWork) Data() []byte        { return w.data }
func (w *fakeWork) Ack()                { w.ended += "ack" }
func (w *fakeWork) Retry(time.Duration) { w.ended += "retry" }
func (w *fakeWork) Poison(error)        { w.ended += "poison" }

func workOf(t testing.TB, m *mailv1.Accepted) *fakeWork {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeWork{data: data}
}

func TestWorkFromTheBus(t *testing.T) {
	spam := body{text: plain("alice@good.example.com") + string(gtube) + "\r\n"}
	outside := func() *mailv1.Envelope { return env("alice@good.example.com", "198.51.100.1") }
	old := func() *mailv1.Envelope {
		e := outside()
		id := envelope.NewQueueID(time.Now().Add(-time.Hour))
		e.QueueId = id[:]
		return e
	}
	for _, row := range []struct {
		name    string
		change  func(*Config)
		message func(*farm) *mailv1.Accepted
		ended   string
		action  mailv1.Action
		reasons string
	}{
		{"judged", nil, func(f *farm) *mailv1.Accepted {
			return f.bodies.put(env("alice@good.example.com", "192.0.2.1"), body{text: plain("alice@good.example.com")}, blob.Accepted)
		}, "ack", accept, "SPF_PASS DKIM_NONE DMARC_PASS"},
		{"junk", nil, func(f *farm) *mailv1.Accepted { return f.bodies.put(outside(), spam, blob.Accepted) },
			"ack", junk, "SPF_FAIL DKIM_NONE DMARC_REJECT GTUBE"},
		{"too late to reject", func(c *Config) { c.DMARCReject = "reject" }, func(f *farm) *mailv1.Accepted { return f.bodies.put(outside(), spam, blob.Accepted) },
			"ack", junk, "SPF_FAIL DKIM_NONE DMARC_REJECT GTUBE LATE_REJECT"},
		{"too late to reject: quarantine", func(c *Config) { c.RejectAt, c.LateReject = 50, "quarantine" }, func(f *farm) *mailv1.Accepted { return f.bodies.put(outside(), spam, blob.Accepted) },
			"ack", quarantine, "SPF_FAIL DKIM_NONE DMARC_REJECT GTUBE LATE_REJECT"},
		{"envelope in the frame only", nil, func(f *farm) *mailv1.Accepted {
			m := f.bodies.put(outside(), spam, blob.Accepted)
			return &mailv1.Accepted{QueueId: m.QueueId, BlobId: m.BlobId}
		}, "ack", junk, "SPF_FAIL DKIM_NONE DMARC_REJECT GTUBE"},
		{"judged before", nil, func(f *farm) *mailv1.Accepted {
			m := f.bodies.put(outside(), body{err: errors.New("must not be read")}, blob.Accepted)
			m.Verdict = &mailv1.Verdict{Action: accept, InDialogue: true}
			return m
		}, "ack", accept, ""},
		{"by an account of ours", nil, func(f *farm) *mailv1.Accepted {
			e := outside()
			e.Client.Account = "alice@good.example.com"
			return f.bodies.put(e, body{text: plain("alice@good.example.com")}, blob.Accepted)
		}, "ack", accept, "TRUSTED"},
		{"made by us", nil, func(f *farm) *mailv1.Accepted {
			return f.bodies.put(outside(), body{text: plain("alice@good.example.com")}, blob.Generated)
		}, "ack", accept, "TRUSTED"},
		{"body panics", nil, func(f *farm) *mailv1.Accepted { return f.bodies.put(outside(), body{panics: true}, blob.Accepted) },
			"ack", accept, "UNJUDGED"},
		{"corrupt", nil, func(f *farm) *mailv1.Accepted {
			return f.bodies.put(outside(), body{err: blob.ErrCorrupt}, blob.Accepted)
		}, "ack", accept, "UNJUDGED"},
		{"frame gone for long", nil, func(f *farm) *mailv1.Accepted {
			m := f.bodies.put(old(), spam, blob.Accepted)
			clear(f.bodies.frames)
			return m
		}, "ack", accept, "UNJUDGED"},
		{"frame not there yet", nil, func(f *farm) *mailv1.Accepted {
			m := f.bodies.put(outside(), spam, blob.Accepted)
			clear(f.bodies.frames)
			return m
		}, "retry", 0, ""},
		{"blob store away", nil, func(f *farm) *mailv1.Accepted {
			m := f.bodies.put(old(), spam, blob.Accepted)
			f.bodies.err = errors.New("connection refused")
			return m
		}, "retry", 0, ""},
		{"blob store away while reading", nil, func(f *farm) *mailv1.Accepted {
			return f.bodies.put(old(), body{err: errors.New("connection lost")}, blob.Accepted)
		}, "retry", 0, ""},
		{"bus away", nil, func(f *farm) *mailv1.Accepted {
			f.bus.err = bus.ErrAway
			return f.bodies.put(outside(), spam, blob.Accepted)
		}, "retry", 0, ""},
		{"no queue id", nil, func(f *farm) *mailv1.Accepted { return &mailv1.Accepted{BlobId: make([]byte, blob.IDLen)} }, "poison", 0, ""},
		{"no blob id", nil, func(f *farm) *mailv1.Accepted { return &mailv1.Accepted{QueueId: make([]byte, 16)} }, "poison", 0, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := start(t, row.change)
			in := row.message(f)
			w := workOf(t, in)
			f.service.judge(t.Context(), []*job{{work: w}})
			if w.ended != row.ended {
				t.Fatalf("the work ended by %q, want %q", w.ended, row.ended)
			}
			if row.ended != "ack" {
				if n := len(f.bus.published); n > 0 {
					t.Errorf("%d messages published", n)
				}
				return
			}
			if len(f.bus.published) != 1 {
				t.Fatalf("%d messages published, want 1", len(f.bus.published))
			}
			out := f.bus.published[0]
			if got := names(out.Verdict); out.Verdict.Action != row.action || got != row.reasons || out.Verdict.Reply != "" {
				t.Errorf("got %v for %s, reply %q; want %v for %s", out.Verdict.Action, got, out.Verdict.Reply, row.action, row.reasons)
			}
			out.Verdict, in.Verdict = nil, nil
			if !proto.Equal(in, out) {
				t.Errorf("beside the verdict the message changed: got %v, want %v", out, in)
			}
		})
	}
}

func TestUndecodableWorkIsPoisonAndBlocksNothing(t *testing.T) {
	f := start(t, nil)
	good := workOf(t, f.bodies.put(env("alice@good.example.com", "192.0.2.1"), body{text: plain("alice@good.example.com")}, blob.Accepted))
	bad := &fakeWork{data: []byte("\xff\xff")}
	f.service.judge(t.Context(), []*job{{work: bad}, {work: good}})
	if bad.ended != "poison" || good.ended != "ack" {
		t.Errorf("got %q and %q, want poison and ack", bad.ended, good.ended)
	}
}

func TestTooLargeForTheBusGoesOnShort(t *testing.T) {
	f := start(t, nil)
	e := env("alice@good.example.com", "192.0.2.1")
	for i := range 10_000 {
		e.Recipients = append(e.Recipients, &mailv1.Recipient{Number: uint32(i), ForwardPath: "a-rather-long-local-part@example.org"})
	}
	m := f.bodies.put(e, body{text: plain("alice@good.example.com")}, blob.Accepted)
	w := workOf(t, m)
	f.service.judge(t.Context(), []*job{{work: w}})
	if w.ended != "ack" || len(f.bus.published) != 1 {
		t.Fatalf("the work ended by %q, %d published", w.ended, len(f.bus.published))
	}
	if out := f.bus.published[0]; out.Envelope != nil || out.Verdict == nil || len(out.BlobId) != blob.IDLen {
		t.Errorf("got %v; want ids and verdict alone", out)
	}
}

func TestBatchIsJudgedAtOnce(t *testing.T) {
	f := start(t, func(c *Config) { c.Deadline = 300 * time.Millisecond })
	release := f.dns.Hold("")
	defer release()
	var jobs []*job
	for range 50 {
		m := f.bodies.put(env("alice@good.example.com", "198.51.100.1"), body{text: plain("alice@good.example.com")}, blob.Accepted)
		jobs = append(jobs, &job{work: workOf(t, m)})
	}
	began := time.Now()
	f.service.judge(t.Context(), jobs)
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("50 messages without DNS took %v with a deadline of 300ms each", d)
	}
	if n := len(f.bus.published); n != 50 {
		t.Errorf("%d published, want 50", n)
	}
	for _, m := range f.bus.published {
		if m.Verdict.Action != accept || names(m.Verdict) != "SPF_TEMPERROR DKIM_NONE DMARC_TEMPERROR" {
			t.Fatalf("got %v for %s", m.Verdict.Action, names(m.Verdict))
		}
	}
}
