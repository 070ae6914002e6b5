package local

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// meddler is a store that tests come between.
type meddler struct {
	storev1.MailboxesClient
	storev1.LedgerClient
	deliver func(*storev1.DeliverRequest) error
	// after sees what was filed; its error is what the caller hears.
	after func(*storev1.DeliverResponse) error
	load  func() error
}

func (m *meddler) Deliver(ctx context.Context, req *storev1.DeliverRequest, opts ...grpc.CallOption) (*storev1.DeliverResponse, error) {
	if m.deliver != nil {
		if err := m.deliver(req); err != nil {
			return nil, err
		}
	}
	resp, err := m.MailboxesClient.Deliver(ctx, req, opts...)
	if err == nil && m.after != nil {
		err = m.after(resp)
	}
	return resp, err
}

func (m *meddler) Load(ctx context.Context, req *storev1.LoadRequest, opts ...grpc.CallOption) (*storev1.LoadResponse, error) {
	if m.load != nil {
		if err := m.load(); err != nil {
			return nil, err
		}
	}
	return m.LedgerClient.Load(ctx, req, opts...)
}

var errAway = errors.New("away")

// meddle puts a meddler between the role and the store.
func meddle(m *meddler) func(*world) {
	return func(w *world) {
		m.MailboxesClient, m.LedgerClient = w.mailboxes, w.ledger
		w.deps.Mailboxes, w.deps.Ledger = m, m
	}
}

// TestPlacement: INBOX, or Junk by the filter's word.
func TestPlacement(t *testing.T) {
	for _, tt := range []struct {
		action mailv1.Action
		junk   bool
		want   string
	}{
		{mailv1.Action_ACTION_ACCEPT, true, "INBOX 1"},
		{mailv1.Action_ACTION_UNSPECIFIED, true, "INBOX 1"},
		{mailv1.Action_ACTION_JUNK, true, "Junk 1"},
		{mailv1.Action_ACTION_JUNK, false, "INBOX 1"},
	} {
		t.Run(fmt.Sprint(tt.action, tt.junk), func(t *testing.T) {
			w := newWorld(t, func(w *world) { w.cfg.JunkFolder = &tt.junk })
			work := w.letter(bob, func(m *mailv1.Accepted, _ *storev1.RecipientRow) { m.Verdict.Action = tt.action })
			w.publish(work)
			if got := w.wait(1)[0]; got != "delivered bob@example.org 250 2.1.5 delivered" {
				t.Error(got)
			}
			if got := w.boxes(bob); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			w.want(work, "delivered")
		})
	}
}

// TestWhatTheReaderSees: newest on top, and what is to be hidden is, by filter and ingress alike.
func TestWhatTheReaderSees(t *testing.T) {
	var filed atomic.Uint64
	w := newWorld(t, meddle(&meddler{after: func(r *storev1.DeliverResponse) error { filed.Store(r.Results[0].Email); return nil }}))
	for _, tt := range []struct {
		name   string
		change func(*mailv1.Accepted, *storev1.RecipientRow)
		want   string
	}{
		{"plain", nil, "Return-Path: <alice@example.net>\r\nDelivered-To: bob@example.org\r\nReceived: from client\r\n" + body},
		{"null reverse-path, another recipient", func(m *mailv1.Accepted, r *storev1.RecipientRow) {
			m.Envelope.ReversePath, r.ForwardPath, m.Overlay = "", `"b b"@example.org`, nil
		}, "Return-Path: <>\r\nDelivered-To: \"b b\"@example.org\r\n" + body},
		{"verdict, cuts that overlap", func(m *mailv1.Accepted, _ *storev1.RecipientRow) {
			at := int64(strings.Index(body, "Authentication"))
			end := int64(strings.Index(body, "Subject"))
			m.Verdict.Overlay = &mailv1.Overlay{Prefix: []byte("Authentication-Results: mail; none\r\n"), Cuts: []*mailv1.Cut{{Offset: at, Length: end - at}}}
			m.Overlay.Cuts = []*mailv1.Cut{{Offset: end, Length: 0}, {Offset: at + 4, Length: end - at - 4}, {Offset: 0, Length: 7}}
		}, "Return-Path: <alice@example.net>\r\nDelivered-To: bob@example.org\r\nAuthentication-Results: mail; none\r\nReceived: from client\r\n" +
			body[7:strings.Index(body, "Authentication")] + body[strings.Index(body, "Subject"):]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer w.in(t)()
			work := w.letter(bob, tt.change)
			w.publish(work)
			w.wait(1)
			if got := w.text(bob, filed.Load()); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestBareHint: the sweep's hints carry no message, and deliver the same.
func TestBareHint(t *testing.T) {
	var filed atomic.Uint64
	w := newWorld(t, meddle(&meddler{after: func(r *storev1.DeliverResponse) error { filed.Store(r.Results[0].Email); return nil }}))
	work := w.letter(bob, func(m *mailv1.Accepted, r *storev1.RecipientRow) {
		m.Verdict.Action, r.Notify = mailv1.Action_ACTION_JUNK, uint32(envelope.NotifySuccess)
	})
	w.pass(2 * time.Minute)
	if n := w.sweep(); n != 1 {
		t.Fatalf("%d are due", n)
	}
	w.wait(1)
	w.want(work, "delivered")
	if got := w.boxes(bob); got != "Junk 1" {
		t.Error(got)
	}
	if want := "Return-Path: <alice@example.net>\r\nDelivered-To: bob@example.org\r\nReceived: from client\r\n" + body; w.text(bob, filed.Load()) != want {
		t.Errorf("got\n%s\nwant\n%s", w.text(bob, filed.Load()), want)
	}
	if n := len(w.children()); n != 1 {
		t.Errorf("%d DSNs", n)
	}
}

// TestHintsThatDoNotHold are let go: unknown, of another generation, for another account, done before.
func TestHintsThatDoNotHold(t *testing.T) {
	w := newWorld(t, nil)
	work := w.letter(bob, nil)
	other := envelope.NewQueueID(w.now())
	stale, wrong := clone(work), clone(work)
	stale.Generation, wrong.Account = 3, 8
	w.publish(&mailv1.LocalWork{QueueId: other[:], Account: bob}, &mailv1.LocalWork{QueueId: work.QueueId, Number: 9, Account: bob}, stale, wrong)
	w.handle(4)
	if got := w.boxes(bob) + w.boxes(8); got != "" {
		t.Errorf("filed: %s", got)
	}
	w.want(work, "queued")
	w.publish(work, work, work)
	w.wait(1)
	w.publish(work, &mailv1.LocalWork{QueueId: work.QueueId, Account: bob})
	w.handle(5)
	if got := w.boxes(bob); got != "INBOX 1" {
		t.Errorf("filed: %s", got)
	}
	if len(w.events) > 0 {
		t.Errorf("told of twice: %v", <-w.events)
	}
}

func clone(w *mailv1.LocalWork) *mailv1.LocalWork {
	return &mailv1.LocalWork{QueueId: w.QueueId, Number: w.Number, Generation: w.Generation, Account: w.Account, Message: w.Message,
		ForwardPath: w.ForwardPath, Notify: w.Notify, Orcpt: w.Orcpt}
}

// TestSuccessIsTold where it is asked for, once, and not where delivery failed.
func TestSuccessIsTold(t *testing.T) {
	w := newWorld(t, nil)
	success := func(_ *mailv1.Accepted, r *storev1.RecipientRow) { r.Notify = uint32(envelope.NotifySuccess) }
	work := w.letter(bob, success)
	w.publish(work, work)
	w.wait(1)
	w.handle(2)
	dsns := w.children()
	if len(dsns) != 1 || !strings.Contains(dsns[0], "\r\nAction: delivered\r\nStatus: 2.1.5\r\n") || !strings.Contains(dsns[0], "\r\nFinal-Recipient: rfc822; bob@example.org\r\n") {
		t.Errorf("DSNs %q", dsns)
	}
	null := w.letter(bob, func(m *mailv1.Accepted, r *storev1.RecipientRow) {
		success(m, r)
		m.Envelope.ReversePath = ""
	})
	w.publish(null, w.letter(bob, nil))
	w.wait(2)
	for range quota - 3 {
		w.publish(w.letter(bob, nil))
	}
	w.wait(quota - 3)
	full := w.letter(bob, success)
	w.publish(full)
	w.wait(1)
	w.want(full, "queued 452 4.2.2 mailbox full")
	if dsns := w.children(); len(dsns) != 0 {
		t.Errorf("DSNs %q", dsns)
	}
}

// TestOverQuota defers by the schedule, tells the sender once that it takes long, and bounces when the time is over.
func TestOverQuota(t *testing.T) {
	w := newWorld(t, func(w *world) { w.cfg.DelayNoticeAfter = 90 * time.Minute })
	for range quota {
		w.publish(w.letter(bob, nil))
	}
	w.wait(quota)
	work := w.letter(bob, nil)
	neighbour := w.letter(8, nil)
	w.publish(work, neighbour)
	w.wait(2)
	w.want(neighbour, "delivered")
	const full = "452 4.2.2 mailbox full"
	for i, step := range []struct {
		pass time.Duration
		dsn  string
	}{{time.Minute, ""}, {time.Hour, ""}, {time.Hour, "delayed"}, {time.Hour, ""}, {time.Hour, ""}, {time.Hour, "failed"}} {
		w.want(work, "queued "+full)
		w.pass(step.pass)
		if n := w.sweep(); n != 1 {
			t.Fatalf("step %d: %d are due", i, n)
		}
		w.wait(1)
		dsns := w.children()
		if step.dsn == "" && len(dsns) > 0 || step.dsn != "" && (len(dsns) != 1 || !strings.Contains(dsns[0], "\r\nAction: "+step.dsn+"\r\n")) {
			t.Errorf("step %d: DSNs %q, want %q", i, dsns, step.dsn)
		}
	}
	w.want(work, "bounced "+full)
	if got := w.boxes(bob); got != fmt.Sprintf("INBOX %d", quota) {
		t.Error(got)
	}
	w.pass(100 * time.Hour)
	if n := w.sweep(); n != 0 {
		t.Errorf("%d are due after the bounce", n)
	}
}

// TestDropped bounces what comes for an account that was removed for good, at once and alone; an account that was made since is
// another.
func TestDropped(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(w.letter(bob, nil))
	w.wait(1)
	late, again := w.letter(bob, nil), w.letter(8, nil)
	kept, ctx := w.db.Retention(), t.Context()
	w.check(kept.BeginDrop(ctx, bob, w.now()))
	w.check(kept.Forgetting(ctx, bob))
	w.publish(late)
	if got := w.wait(1)[0]; got != "deferred bob@example.org 451 4.3.0 mailbox cannot be written now" {
		t.Error(got)
	}
	w.check(kept.Forgotten(ctx, bob))
	for done := false; !done; {
		var err error
		done, err = kept.Drop(ctx, bob, 64)
		w.check(err)
	}
	w.pass(time.Minute)
	if n := w.sweep(); n != 2 {
		t.Errorf("%d are due", n)
	}
	w.wait(2)
	w.want(late, "bounced 550 5.1.1 no such user")
	w.want(again, "delivered")
	dsns := w.children()
	if len(dsns) != 1 || !strings.Contains(dsns[0], "\r\nAction: failed\r\nStatus: 5.1.1\r\n") {
		t.Errorf("DSNs %q", dsns)
	}
	if got := w.boxes(8); got != "INBOX 1" {
		t.Errorf("the new account has %s", got)
	}
	accounts, err := kept.Accounts(ctx, 0, 10)
	w.check(err)
	if len(accounts) != 1 || accounts[0] != 8 {
		t.Errorf("accounts are %v", accounts)
	}
}

// TestRoomAgain delivers what was deferred.
func TestRoomAgain(t *testing.T) {
	w := newWorld(t, nil)
	for range quota {
		w.publish(w.letter(bob, nil))
	}
	w.wait(quota)
	work := w.letter(bob, nil)
	w.publish(work)
	w.wait(1)
	resp, err := w.mailboxes.List(t.Context(), &storev1.ListRequest{Account: bob})
	w.check(err)
	_, err = w.mailboxes.Expunge(t.Context(), &storev1.ExpungeRequest{Account: bob, Mailbox: resp.Mailboxes[0].Id, Force: true})
	w.check(err)
	w.pass(time.Minute)
	w.sweep()
	w.wait(1)
	w.want(work, "delivered 452 4.2.2 mailbox full")
}

// TestStoreAway: nothing counts, nothing is lost, and nothing is filed twice.
func TestStoreAway(t *testing.T) {
	var calls atomic.Int64
	fail := func(n int64) error {
		if calls.Add(1) <= n {
			return errAway
		}
		return nil
	}
	for name, m := range map[string]*meddler{
		"before":      {deliver: func(*storev1.DeliverRequest) error { return fail(1) }},
		"the answer":  {after: func(*storev1.DeliverResponse) error { return fail(1) }},
		"at the load": {load: func() error { return fail(1) }},
	} {
		t.Run(name, func(t *testing.T) {
			calls.Store(0)
			w := newWorld(t, meddle(m))
			work := w.letter(bob, nil)
			bare := &mailv1.LocalWork{QueueId: work.QueueId, Account: bob}
			w.publish(bare)
			w.settled(work)
			w.want(work, "delivered")
			if got := w.boxes(bob); got != "INBOX 1" {
				t.Error(got)
			}
		})
	}
}

// failing cannot write DSNs.
type failing struct{}

func (failing) Bounce(context.Context, *mailv1.Accepted, []*storev1.RecipientRow) (*mailv1.Accepted, error) {
	return nil, errAway
}

// TestDSNCannotBeWritten defers the one that needs it, and its neighbours go on.
func TestDSNCannotBeWritten(t *testing.T) {
	w := newWorld(t, func(w *world) { w.deps.DSN = failing{} })
	work := w.letter(bob, func(_ *mailv1.Accepted, r *storev1.RecipientRow) { r.Notify = uint32(envelope.NotifySuccess) })
	neighbour := w.letter(bob, nil)
	w.publish(work, neighbour)
	w.wait(2)
	w.want(work, "queued 451 4.3.0 the delivery cannot be reported now")
	w.want(neighbour, "delivered")
	// Its time is over, but nobody could be told.
	w.pass(6 * time.Hour)
	w.sweep()
	w.wait(1)
	w.want(work, "queued 451 4.3.0 the delivery cannot be reported now")
}

// TestPoison: work that cannot be decoded, or panics, ends as a dead letter with its row, beside its neighbours.
func TestPoison(t *testing.T) {
	var bad []byte
	w := newWorld(t, func(w *world) {
		meddle(&meddler{deliver: func(r *storev1.DeliverRequest) error {
			for _, d := range r.Deliveries {
				if string(d.QueueId) == string(bad) {
					panic("this one")
				}
			}
			return nil
		}})(w)
	})
	poison, neighbour := w.letter(bob, nil), w.letter(bob, nil)
	bad = poison.QueueId
	noEnvelope := &mailv1.LocalWork{QueueId: neighbour.QueueId, Number: 5, Account: bob, Message: &mailv1.Accepted{}}
	w.publish(poison, neighbour, noEnvelope)
	w.check(w.conn.Publish(t.Context(), bus.Local, bob, []byte("no protobuf")))
	for deadline := time.Now().Add(patience); ; {
		dead, err := w.conn.ListDead(t.Context(), 10)
		w.check(err)
		if len(dead) == 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d dead letters", len(dead))
		}
	}
	w.settled(neighbour)
	w.want(neighbour, "delivered")
	w.want(poison, "dead 451 4.3.0 panic: this one")
}

// TestManyAtOnce files batches over several calls where they are too large for one.
func TestManyAtOnce(t *testing.T) {
	var calls, most atomic.Int64
	w := newWorld(t, func(w *world) {
		w.cfg.Batch = 1000
		meddle(&meddler{deliver: func(r *storev1.DeliverRequest) error {
			calls.Add(1)
			most.Store(max(most.Load(), int64(len(r.Deliveries))))
			return nil
		}})(w)
	})
	var all []*mailv1.LocalWork
	for account := range uint64(60) {
		all = append(all, w.letter(account+100, func(m *mailv1.Accepted, _ *storev1.RecipientRow) {
			m.Overlay.Prefix = []byte("X-Field: " + strings.Repeat("x", 900_000) + "\r\n")
		}))
	}
	for _, work := range all {
		w.publish(work)
	}
	w.wait(len(all))
	for _, work := range all {
		w.want(work, "delivered")
	}
	if calls.Load() < 4 || most.Load() > maxRequest/900_000 {
		t.Errorf("%d calls, at most %d deliveries in one", calls.Load(), most.Load())
	}
}

func TestValidateNamesAllFaults(t *testing.T) {
	c := Config{Batch: 5000, Retry: []time.Duration{time.Minute, 0}}
	err := c.Validate()
	for _, key := range []string{"batch: ", "retry[1]: "} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%q is not named in %v", key, err)
		}
	}
	c = Config{}
	c.Defaults()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// BenchmarkDeliver is hints from the bus to mailboxes, over the real store.
func BenchmarkDeliver(b *testing.B) {
	w := newWorld(b, nil)
	work := make([]*mailv1.LocalWork, b.N)
	for i := range work {
		work[i] = w.letter(uint64(1+i%50), nil)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for len(work) > 0 {
		n := min(len(work), 500)
		w.publish(work[:n]...)
		work = work[n:]
	}
	w.wait(b.N)
}

// BenchmarkPrepare is what the role itself does for one recipient.
func BenchmarkPrepare(b *testing.B) {
	junk := true
	s := &Service{cfg: Config{JunkFolder: &junk}}
	j := &job{work: &mailv1.LocalWork{ForwardPath: "bob@example.org", Message: &mailv1.Accepted{
		Envelope: &mailv1.Envelope{ReversePath: "alice@example.net"}, Overlay: &mailv1.Overlay{Prefix: []byte("Received: from client\r\n")},
		Verdict: &mailv1.Verdict{Overlay: &mailv1.Overlay{Prefix: []byte("Authentication-Results: mail; none\r\n"), Cuts: []*mailv1.Cut{{Offset: 10, Length: 20}}}},
	}}}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.prepare(b.Context(), j); err != nil {
			b.Fatal(err)
		}
	}
}
