package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func TestRecoveryPublishesWhatTheBusLost(t *testing.T) {
	w := newWorld(t)
	judged := w.frame(blob.Accepted, accept(mailv1.Action_ACTION_JUNK), "a@example.org")
	w.frame(blob.Accepted, nil, "b@example.org", "c@example.org")
	w.frame(blob.Generated, nil, "d@example.org")
	w.frame(blob.Appended, nil)
	w.recover()
	if n := w.bus.waits(bus.Accepted) + w.bus.waits(bus.Filtered); n != 0 {
		t.Fatalf("published %d young messages: their own publish may be under way", n)
	}
	w.wantAudit(&storev1.AuditResponse{Accepted: 3, Pending: 3})
	w.clock.Advance(w.part.cfg.RecoverAfter)
	for range 3 {
		w.recover()
		if a, f := w.bus.waits(bus.Accepted), w.bus.waits(bus.Filtered); a != 1 || f != 1 {
			t.Fatalf("got %d on %s and %d on %s; want each message once, however long the router is away", a, bus.Accepted, f, bus.Filtered)
		}
	}
	var got mailv1.Accepted
	if err := proto.Unmarshal(w.bus.streams[bus.Filtered][0], &got); err != nil || !proto.Equal(&got, judged) {
		t.Errorf("got %v, %v; want what ingress publishes: %v", &got, err, judged)
	}
	w.filter()
	w.recover()
	if n := w.bus.waits(bus.Filtered); n != 2 {
		t.Fatalf("%d wait for the router, want 2", n)
	}
	w.route()
	w.recover()
	w.recover()
	if n := w.bus.waits(bus.Accepted) + w.bus.waits(bus.Filtered); n != 0 {
		t.Errorf("published %d messages that the ledger has", n)
	}
	w.wantAudit(&storev1.AuditResponse{Accepted: 3, Queued: 3})
	w.wantCheckpoint(4)
}

// TestQuietFarmIsLookedAtSeldom: a frame that nobody published is found no later than before, since a look that meets one is
// followed by others at the usual pace.
func TestQuietFarmIsLookedAtSeldom(t *testing.T) {
	w := newWorld(t)
	pause, usual := w.part.tasks[2].pause, w.part.cfg.RecoverEvery
	w.recover()
	if got := pause(); got != 2*usual {
		t.Errorf("after a look that met nothing the next comes in %v, want %v", got, 2*usual)
	}
	for range 10 {
		w.recover()
	}
	if got := pause(); got != w.part.cfg.RecoverAfter {
		t.Errorf("after many looks that met nothing the next comes in %v, want %v", got, w.part.cfg.RecoverAfter)
	}
	w.frame(blob.Accepted, nil, "a@example.org")
	w.recover()
	if got := pause(); got != usual {
		t.Errorf("after a look that met a young frame the next comes in %v, want %v", got, usual)
	}
}

// wantCheckpoint wants all frames of this incarnation up to a number passed, and none behind.
func (w *world) wantCheckpoint(passed int) {
	w.Helper()
	checkpoints := must(w.db.Ledger().Checkpoints(w.ctx))
	n, got := 0, 0
	for _, inc := range must(w.blobs.Incarnations(w.ctx)) {
		if !inc.Live {
			continue
		}
		w.scan(inc.ID, func(f blob.Scanned) {
			n++
			if checkpoints[inc.ID].Passed(f.ID) {
				got++
			}
		})
	}
	if got != passed {
		w.Errorf("the checkpoint passed %d of %d frames, want %d", got, n, passed)
	}
}

func (w *world) scan(incarnation uint64, each func(blob.Scanned)) {
	w.Helper()
	_, err := w.blobs.Scan(w.ctx, blob.Position{Incarnation: incarnation}, func(f blob.Scanned) error {
		each(f)
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
}

func TestRecoveryLeavesABacklogAlone(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		verdict := accept(mailv1.Action_ACTION_ACCEPT)
		if i%2 == 0 {
			verdict = nil
		}
		w.publish(w.frame(blob.Accepted, verdict, "a@example.org"))
	}
	w.frame(blob.Accepted, nil, "lost@example.org")
	w.clock.Advance(time.Hour)
	for range 5 {
		w.recover()
		w.restart() // a process that forgets what it noted begins with a wait
	}
	if a, f := w.bus.waits(bus.Accepted), w.bus.waits(bus.Filtered); a != 10 || f != 10 {
		t.Fatalf("got %d and %d waiting, want the backlog of 10 each and nothing more", a, f)
	}
	w.filter()
	w.recover()
	if f := w.bus.waits(bus.Filtered); f != 20 {
		t.Fatalf("%d wait for the router, want 20: it is behind", f)
	}
	w.route()
	w.recover()
	if a, f := w.bus.waits(bus.Accepted), w.bus.waits(bus.Filtered); a != 1 || f != 0 {
		t.Errorf("got %d and %d, want the lost one alone", a, f)
	}
}

func TestWipedBusIsNotWaitedFor(t *testing.T) {
	for _, half := range []bool{false, true} {
		t.Run(fmt.Sprintf("behind the filter %t", half), func(t *testing.T) {
			w := newWorld(t)
			w.publish(w.frame(blob.Accepted, nil, "a@example.org"))
			w.clock.Advance(time.Minute)
			w.recover()
			if half {
				w.filter()
				w.recover()
			}
			w.bus.wipe()
			w.recover()
			if n := w.bus.waits(bus.Accepted); n != 1 {
				t.Errorf("got %d published, want the message at once", n)
			}
		})
	}
}

func TestVerdictInTheTailSettles(t *testing.T) {
	w := newWorld(t)
	w.frame(blob.Accepted, accept(mailv1.Action_ACTION_REJECT), "a@example.org")
	w.frame(blob.Accepted, accept(mailv1.Action_ACTION_DISCARD), "b@example.org", "c@example.org")
	w.clock.Advance(time.Minute)
	w.recover()
	if n := w.bus.waits(bus.Accepted) + w.bus.waits(bus.Filtered); n != 0 {
		t.Errorf("published %d messages that were refused or discarded", n)
	}
	w.wantCheckpoint(2)
	w.wantAudit(&storev1.AuditResponse{Accepted: 2, Discarded: 2})
}

func TestCheckpointNeverPassesAnUnaccountedFrame(t *testing.T) {
	w := newWorld(t)
	w.cfg.RecoverBatch = 3
	w.restart()
	l := w.db.Ledger()
	var messages []*mailv1.Accepted
	for i := range 40 {
		m := w.frame(blob.Accepted, nil, "a@example.org")
		messages = append(messages, m)
		if i%7 != 3 {
			w.record(m)
		}
		if i%11 == 0 {
			w.newIncarnation()
		}
	}
	check := func(step string) {
		t.Helper()
		checkpoints := must(l.Checkpoints(w.ctx))
		for _, m := range messages {
			at := must(blob.IDFrom(m.BlobId))
			if known := must(l.Known(w.ctx, [][]byte{m.QueueId})); checkpoints[at.Incarnation].Passed(at) && !known[0].Found {
				t.Fatalf("%s: the checkpoint passed frame %v, which nobody accounts for", step, at)
			}
		}
	}
	w.recover()
	check("young")
	w.clock.Advance(time.Minute)
	for i := range 20 {
		w.recover()
		check(fmt.Sprintf("round %d", i))
		w.filter()
		check("filtered")
		w.route()
	}
	w.wantAudit(&storev1.AuditResponse{Accepted: 40, Queued: 40})
	for id, c := range must(l.Checkpoints(w.ctx)) {
		live := id == must(w.blobs.Incarnations(w.ctx))[len(must(w.blobs.Incarnations(w.ctx)))-1].ID
		if c.Done == live {
			t.Errorf("incarnation %d: done is %t, live is %t", id, c.Done, live)
		}
	}
}

func TestBeyondTheHorizonAnOperatorDecides(t *testing.T) {
	w := newWorld(t)
	release, drop := w.frame(blob.Accepted, nil, "a@example.org"), w.frame(blob.Accepted, nil, "b@example.org", "c@example.org")
	w.clock.Advance(w.part.cfg.RecoverHorizon + time.Hour)
	w.frame(blob.Accepted, nil, "young@example.org") // in a segment that is old
	w.clock.Advance(time.Minute)
	w.recover()
	if n := w.bus.waits(bus.Accepted); n != 1 {
		t.Fatalf("published %d, want the young one only", n)
	}
	if got := w.wantAudit(&storev1.AuditResponse{Accepted: 4, Pending: 1, Unaccounted: 3}); len(got.Findings) != 3 {
		t.Errorf("findings: got %v, want one for each recipient", got.Findings)
	}
	act := func(a storev1.Action, m *mailv1.Accepted) {
		t.Helper()
		got, err := w.part.queue.Act(w.ctx, &storev1.ActRequest{Action: a, QueueIds: [][]byte{m.QueueId}})
		if err != nil || got.Recipients != 1 {
			t.Fatalf("%v: got %v, %v", a, got, err)
		}
	}
	act(storev1.Action_ACTION_RELEASE, release)
	act(storev1.Action_ACTION_DELETE, drop)
	w.wantAudit(&storev1.AuditResponse{Accepted: 4, Pending: 2, Discarded: 2})
	for range 3 {
		w.filter()
		w.route()
		w.recover()
	}
	w.wantAudit(&storev1.AuditResponse{Accepted: 4, Queued: 2, Discarded: 2})
	w.recover()
	if d := must(w.db.Ledger().Decisions(w.ctx, [][]byte{release.QueueId, drop.QueueId})); d[0] != ledger.NotWithheld || d[1] != ledger.Discarded {
		t.Errorf("got decisions %v, want the released one forgotten", d)
	}
}

func TestFrameThatNamesNobodyBlocksNobody(t *testing.T) {
	w := newWorld(t)
	w.frame(blob.Accepted, nil)
	w.frame(blob.Accepted, nil, "a@example.org")
	w.clock.Advance(time.Minute)
	w.recover()
	if n := w.bus.waits(bus.Accepted); n != 1 {
		t.Errorf("published %d, want the sound one", n)
	}
	w.wantAudit(&storev1.AuditResponse{Accepted: 2, Pending: 1, Unaccounted: 1})
}

func TestHeldRecoveryPublishesNothing(t *testing.T) {
	w := newWorld(t)
	w.cfg.RecoverHeld = true
	w.restart()
	w.frame(blob.Accepted, nil, "a@example.org")
	w.clock.Advance(time.Minute)
	w.recover()
	w.recover()
	if n := w.bus.waits(bus.Accepted); n != 0 {
		t.Errorf("published %d", n)
	}
	w.wantAudit(&storev1.AuditResponse{Accepted: 1, Pending: 1})
}

func TestTooLargeForTheBus(t *testing.T) {
	w := newWorld(t)
	id := envelope.NewQueueID(w.clock.Now())
	env := &mailv1.Envelope{QueueId: id[:], AcceptedNs: w.clock.Now().UnixNano(), Kind: mailv1.Kind_KIND_ACCEPTED}
	for i := range 10_000 {
		env.Recipients = append(env.Recipients, &mailv1.Recipient{Number: uint32(i), ForwardPath: fmt.Sprintf("somebody-%d@example.org", i)})
	}
	m := w.write(blob.Meta{Kind: blob.Accepted, QueueID: id}, &mailv1.FrameTail{Envelope: env, PartIndex: make([]byte, maxPartIndex+1)})
	w.clock.Advance(time.Minute)
	w.recover()
	var got mailv1.Accepted
	if w.bus.waits(bus.Accepted) != 1 || proto.Unmarshal(w.bus.streams[bus.Accepted][0], &got) != nil {
		t.Fatal("not published")
	}
	if want := (&mailv1.Accepted{QueueId: m.QueueId, BlobId: m.BlobId}); !proto.Equal(&got, want) {
		t.Errorf("got %d octets, want the ids alone", len(w.bus.streams[bus.Accepted][0]))
	}
}

func TestRerouteDoesNotMeetRecovery(t *testing.T) {
	w := newWorld(t)
	m := w.frame(blob.Accepted, accept(mailv1.Action_ACTION_QUARANTINE), "a@example.org")
	w.record(m)
	w.wantAudit(&storev1.AuditResponse{Accepted: 1, Quarantined: 1})
	if _, err := w.part.queue.Act(w.ctx, &storev1.ActRequest{Action: storev1.Action_ACTION_RELEASE, All: true}); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Minute)
	w.recover()
	if n := w.bus.waits(bus.Filtered); n != 0 {
		t.Fatalf("recovery published %d messages of the outbox: the old verdict would win", n)
	}
	w.wantAudit(&storev1.AuditResponse{Accepted: 1, Pending: 1})
	if err := untilIdle(w.ctx, w.part.tasks[1]); err != nil {
		t.Fatal(err)
	}
	w.route()
	w.wantAudit(&storev1.AuditResponse{Accepted: 1, Queued: 1})
}

// crasher fails at one call, before or behind its effect; what called it is started anew, as after a crash there.
type crasher struct {
	left   int // calls until it fails
	behind bool
	fired  bool
}

func (c *crasher) call(f func() error) error {
	c.left--
	if c.left != 0 {
		return f()
	}
	c.fired = true
	if c.behind {
		if err := f(); err != nil {
			return err
		}
	}
	return errAway
}

// crashingLedger has a crasher before the methods that workers call.
type crashingLedger struct {
	ledger.Ledger
	c *crasher
}

func crashing[T any](c *crasher, f func() (T, error)) (v T, err error) {
	err = c.call(func() error {
		v, err = f()
		return err
	})
	return v, err
}

func (l crashingLedger) Sweep(ctx context.Context, of ledger.SweepOf, limit int, again time.Duration) (ledger.Due, error) {
	return crashing(l.c, func() (ledger.Due, error) { return l.Ledger.Sweep(ctx, of, limit, again) })
}
func (l crashingLedger) TakeOutbox(ctx context.Context, limit int, again time.Duration) ([]ledger.OutboxChild, error) {
	return crashing(l.c, func() ([]ledger.OutboxChild, error) { return l.Ledger.TakeOutbox(ctx, limit, again) })
}
func (l crashingLedger) DropOutbox(ctx context.Context, children []ledger.OutboxChild) error {
	return l.c.call(func() error { return l.Ledger.DropOutbox(ctx, children) })
}
func (l crashingLedger) Known(ctx context.Context, ids [][]byte) ([]ledger.Known, error) {
	return crashing(l.c, func() ([]ledger.Known, error) { return l.Ledger.Known(ctx, ids) })
}
func (l crashingLedger) Waiting(ctx context.Context, ids [][]byte) ([]bool, error) {
	return crashing(l.c, func() ([]bool, error) { return l.Ledger.Waiting(ctx, ids) })
}
func (l crashingLedger) Checkpoints(ctx context.Context) (map[uint64]ledger.Checkpoint, error) {
	return crashing(l.c, func() (map[uint64]ledger.Checkpoint, error) { return l.Ledger.Checkpoints(ctx) })
}
func (l crashingLedger) SaveCheckpoint(ctx context.Context, c ledger.Checkpoint) error {
	return l.c.call(func() error { return l.Ledger.SaveCheckpoint(ctx, c) })
}
func (l crashingLedger) Withhold(ctx context.Context, frames []ledger.Withheld) error {
	return l.c.call(func() error { return l.Ledger.Withhold(ctx, frames) })
}
func (l crashingLedger) Withheld(ctx context.Context, d ledger.Decision, after envelope.QueueID, limit int) ([]ledger.Withheld, error) {
	return crashing(l.c, func() ([]ledger.Withheld, error) { return l.Ledger.Withheld(ctx, d, after, limit) })
}
func (l crashingLedger) Decisions(ctx context.Context, ids [][]byte) ([]ledger.Decision, error) {
	return crashing(l.c, func() ([]ledger.Decision, error) { return l.Ledger.Decisions(ctx, ids) })
}
func (l crashingLedger) DropWithheld(ctx context.Context, ids [][]byte) error {
	return l.c.call(func() error { return l.Ledger.DropWithheld(ctx, ids) })
}

type crashingBus struct {
	WorkBus
	c *crasher
}

func (b crashingBus) PublishAll(ctx context.Context, s bus.Subject, keys []uint64, payloads [][]byte) error {
	return b.c.call(func() error { return b.WorkBus.PublishAll(ctx, s, keys, payloads) })
}
func (b crashingBus) Backlog(ctx context.Context, s bus.Subject) (uint64, error) {
	return crashing(b.c, func() (uint64, error) { return b.WorkBus.Backlog(ctx, s) })
}
func (b crashingBus) Mark(ctx context.Context, s bus.Subject) (bus.Mark, error) {
	return crashing(b.c, func() (bus.Mark, error) { return b.WorkBus.Mark(ctx, s) })
}
func (b crashingBus) Passed(ctx context.Context, m bus.Mark) (passed, same bool, err error) {
	err = b.c.call(func() error {
		passed, same, err = b.WorkBus.Passed(ctx, m)
		return err
	})
	return passed, same, err
}

// TestCrashBetweenAnyTwoSteps lets the workers die before and behind each call they make, once per run: whatever was
// accepted, and every child, is recorded and hinted in the end.
func TestCrashBetweenAnyTwoSteps(t *testing.T) {
	for _, behind := range []bool{false, true} {
		t.Run(fmt.Sprintf("behind the effect %t", behind), func(t *testing.T) {
			t.Parallel()
			for at := 1; ; at++ {
				c := &crasher{left: at, behind: behind}
				crashAt(t, c)
				if t.Failed() {
					t.Fatalf("crashed at call %d", at)
				}
				if !c.fired {
					if at < 60 {
						t.Errorf("the workers made %d calls in all: the story is too short", at)
					}
					break
				}
				if testing.Short() {
					at += 6
				}
			}
		})
	}
}

func crashAt(t *testing.T, c *crasher) {
	w := newWorld(t)
	w.ledger = func(l ledger.Ledger) ledger.Ledger { return crashingLedger{l, c} }
	w.line = func(b WorkBus) WorkBus { return crashingBus{b, c} }
	w.restart()
	old := w.frame(blob.Accepted, nil, "old@example.org")
	w.clock.Advance(w.part.cfg.RecoverHorizon + time.Hour)
	w.newIncarnation()
	parent := w.frame(blob.Accepted, nil, "a@example.org")
	child := w.childOf(parent, 0)
	w.record(parent, child)
	w.frame(blob.Accepted, nil, "lost@example.org")
	w.frame(blob.Accepted, accept(mailv1.Action_ACTION_ACCEPT), "judged@example.org")
	hinted := map[string]bool{}
	for round := range 11 {
		for _, i := range []int{0, 1, 2} {
			if untilIdle(w.ctx, w.part.tasks[i]) != nil {
				w.restart()
			}
		}
		for _, payload := range w.bus.take(bus.Local) {
			var work mailv1.LocalWork
			if err := proto.Unmarshal(payload, &work); err != nil {
				t.Fatal(err)
			}
			hinted[work.ForwardPath] = true
		}
		w.filter()
		w.route()
		w.clock.Advance(time.Minute)
		if round == 4 {
			if _, err := w.db.Ledger().Act(w.ctx, &storev1.ActRequest{Action: storev1.Action_ACTION_RELEASE, QueueIds: [][]byte{old.QueueId}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := w.wantQuiet()
	if got.Accepted != 4 || got.Queued != 5 || got.Generated != 1 {
		t.Errorf("got %v, want 4 and the child queued", got)
	}
	for _, a := range []string{"old@example.org", "a@example.org", "lost@example.org", "judged@example.org", "sender@example.net"} {
		if !hinted[a] {
			t.Errorf("%s was never hinted", a)
		}
	}
	if waits := must(w.db.Ledger().Waiting(w.ctx, [][]byte{child.QueueId})); waits[0] {
		t.Error("the child is still in the outbox")
	}
}

// wantQuiet wants nothing unaccounted, by an audit that no crash disturbs.
func (w *world) wantQuiet() *storev1.AuditResponse {
	w.Helper()
	w.ledger, w.line = nil, nil
	w.restart()
	got := w.audit()
	if got.Unaccounted != 0 || got.Pending != 0 {
		w.Errorf("audit: got %v", got)
	}
	return got
}
