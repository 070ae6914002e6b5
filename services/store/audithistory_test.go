package store

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
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

// forgetful is a ledger that keeps nothing of audits.
type forgetful struct{ ledger.Ledger }

func (forgetful) AuditHours(context.Context) (map[int64]ledger.AuditHour, error) { return nil, nil }
func (forgetful) KeepHour(context.Context, ledger.AuditHour) error               { return nil }
func (forgetful) AuditStretches(context.Context, uint64) ([]ledger.AuditStretch, error) {
	return nil, nil
}
func (forgetful) KeepStretches(context.Context, []ledger.AuditStretch) error { return nil }

// plainAudit goes by nothing that was kept, and keeps nothing.
func (w *world) plainAudit(req *storev1.AuditRequest) *storev1.AuditResponse {
	w.Helper()
	a := &auditor{ledger: forgetful{w.db.Ledger()}, blobs: w.blobs, cfg: &w.part.cfg, now: w.clock.Now, log: slog.New(slog.DiscardHandler)}
	r, err := a.run(w.ctx, req)
	if err != nil {
		w.Fatalf("audit: %v", err)
	}
	return r
}

// sameAudit compares an audit that goes by what was kept with one that looks at everything; findings come in another order.
func (w *world) sameAudit(step string, req *storev1.AuditRequest) *storev1.AuditResponse {
	w.Helper()
	want, got := w.plainAudit(req), w.auditAs(req)
	for i, n := range auditCounts(want) {
		if m := auditCounts(got)[i]; m != n {
			w.Errorf("%s: %s: got %d, want %d", step, auditNames[i], m, n)
		}
	}
	count := func(r *storev1.AuditResponse) map[string]int {
		all := map[string]int{}
		for _, f := range r.Findings {
			all[fmt.Sprintf("%x %d %s", f.QueueId, f.Number, f.Problem)]++
		}
		return all
	}
	if g, m := fmt.Sprint(count(got)), fmt.Sprint(count(want)); g != m {
		w.Errorf("%s: findings: got %s, want %s", step, g, m)
	}
	if w.Failed() {
		w.Fatalf("%s: %v", step, req)
	}
	return got
}

// life is a random history.
type life struct {
	*world
	r *rand.Rand
	// unrouted were written and not recorded, routed are recorded.
	unrouted, routed []*mailv1.Accepted
	damaged          int
}

func TestIncrementalAuditEqualsAFullOne(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			l := &life{world: newWorld(t), r: rand.New(rand.NewPCG(seed, 4))}
			l.cfg.AuditPause = time.Nanosecond
			l.cfg.PruneAfter = 30 * time.Hour
			l.restart()
			settled := uint64(0)
			for i := range 120 {
				step := l.step()
				got := l.sameAudit(fmt.Sprintf("step %d, %s", i, step), &storev1.AuditRequest{Full: l.r.IntN(15) == 0})
				settled = max(settled, got.Settled)
				if l.r.IntN(3) == 0 {
					since := l.clock.Now().Add(-time.Duration(l.r.IntN(72)) * time.Hour)
					req := &storev1.AuditRequest{SinceNs: since.UnixNano()}
					if l.r.IntN(2) == 0 {
						req.UntilNs = since.Add(time.Duration(l.r.IntN(24)) * time.Hour).UnixNano()
					}
					l.sameAudit(fmt.Sprintf("step %d, %s, a range", i, step), req)
				}
			}
			if settled < 20 {
				t.Errorf("never more than %d were counted by what was kept: the history shows nothing", settled)
			}
		})
	}
}

// step does one thing and says what.
func (l *life) step() string {
	switch n := l.r.IntN(100); {
	case n < 30:
		l.write()
		return "write"
	case n < 50:
		l.routeSome()
		return "route"
	case n < 65:
		l.settleSome()
		return "settle"
	case n < 70:
		l.recover()
		l.pump()
		return "recover"
	case n < 84:
		l.clock.Advance(time.Duration(1+l.r.IntN(300)) * time.Minute)
		l.recover()
		return "time passes"
	case n < 88:
		if err := untilIdle(l.ctx, l.part.tasks[4]); err != nil {
			l.Fatal(err)
		}
		return "prune"
	case n < 92:
		l.newIncarnation()
		return "new incarnation"
	case n < 96:
		l.act()
		return "act"
	default:
		return l.damage()
	}
}

func (l *life) write() {
	for range 1 + l.r.IntN(12) {
		var to []string
		for i := range l.r.IntN(3) + min(1, l.r.IntN(30)) {
			to = append(to, fmt.Sprintf("r%d@example.org", i))
		}
		kind, verdict := blob.Accepted, accept(mailv1.Action_ACTION_ACCEPT)
		switch l.r.IntN(14) {
		case 0:
			kind = blob.Appended
		case 1:
			kind = blob.Generated
		case 2:
			verdict = accept(mailv1.Action_ACTION_DISCARD)
		case 3:
			verdict = accept(mailv1.Action_ACTION_REJECT)
		case 4:
			verdict = accept(mailv1.Action_ACTION_QUARANTINE)
		}
		m := l.frame(kind, verdict, to...)
		if kind == blob.Accepted && len(to) > 0 && !settledByTail(verdict) {
			l.unrouted = append(l.unrouted, m)
		}
	}
}

func (l *life) routeSome() {
	for _, m := range l.unrouted {
		if l.r.IntN(5) == 0 {
			continue // recovery finds it
		}
		if known := must(l.db.Ledger().Known(l.ctx, [][]byte{m.QueueId})); known[0].Found {
			continue
		}
		var children []*mailv1.Accepted
		if l.r.IntN(6) == 0 {
			children = append(children, l.childOf(m, 0))
		}
		l.record(m, children...)
		if len(children) > 0 && l.r.IntN(2) == 0 {
			l.record(children[0])
			if err := l.db.Ledger().DropOutbox(l.ctx, []ledger.OutboxChild{{Owner: m.QueueId, ID: envelope.QueueID(children[0].QueueId)}}); err != nil {
				l.Fatal(err)
			}
		}
		l.routed = append(l.routed, m)
	}
	l.unrouted = nil
}

// settleSome ends what waits: in a mailbox, or bounced.
func (l *life) settleSome() {
	for range 10 {
		if len(l.routed) == 0 {
			return
		}
		m := l.routed[l.r.IntN(len(l.routed))]
		entry := must(l.db.Ledger().Load(l.ctx, [][]byte{m.QueueId}))[0] // without recipients where it was pruned or is on its way again
		for _, row := range entry.Recipients {
			if row.State != storev1.State_STATE_QUEUED {
				continue
			}
			if l.r.IntN(2) == 0 {
				l.deliver(m, row.Number)
				continue
			}
			state := []storev1.State{storev1.State_STATE_BOUNCED, storev1.State_STATE_RELAYED, storev1.State_STATE_DEAD}[l.r.IntN(3)]
			must(l.db.Ledger().Report(l.ctx, []*storev1.Report{{QueueId: m.QueueId, Generation: row.Generation,
				Outcomes: []*storev1.Outcome{{Number: row.Number, State: state, Reply: "550 5.0.0 so"}}}}))
		}
	}
}

// act releases, deletes or holds: quarantined messages go through the router again.
func (l *life) act() {
	action := []storev1.Action{storev1.Action_ACTION_RELEASE, storev1.Action_ACTION_DELETE, storev1.Action_ACTION_HOLD, storev1.Action_ACTION_RETRY}[l.r.IntN(4)]
	req := &storev1.ActRequest{Action: action, All: true}
	if len(l.routed) > 0 && l.r.IntN(2) == 0 {
		req = &storev1.ActRequest{Action: action, QueueIds: [][]byte{l.routed[l.r.IntN(len(l.routed))].QueueId}}
	}
	must(l.db.Ledger().Act(l.ctx, req))
	if l.r.IntN(2) == 0 {
		return // the outbox stays as it is for now
	}
	if err := untilIdle(l.ctx, l.part.tasks[1]); err != nil {
		l.Fatal(err)
	}
	l.pump()
}

// pump routes what waits on the bus. What names nobody was released by an operator: a router makes it a dead letter.
func (l *life) pump() {
	l.filter()
	for _, payload := range l.bus.take(bus.Filtered) {
		var m mailv1.Accepted
		if err := proto.Unmarshal(payload, &m); err != nil {
			l.Fatal(err)
		}
		tail := must((&recovery{blobs: l.blobs}).readTail(l.ctx, must(blob.IDFrom(m.BlobId))))
		if len(tail.Envelope.Recipients) > 0 {
			l.record(&m)
			l.routed = append(l.routed, &m)
		}
	}
}

// damage spoils the last frame, of which nothing has been kept yet: what was settled before is found by a full audit only.
func (l *life) damage() string {
	if l.damaged > 1 {
		return "nothing"
	}
	l.damaged++
	kind := []blob.Kind{blob.Accepted, blob.Appended, blob.Generated}[l.r.IntN(3)]
	m := l.frame(kind, accept(mailv1.Action_ACTION_ACCEPT), "a@example.org", "b@example.org")
	if kind == blob.Accepted && l.r.IntN(2) == 0 {
		l.record(m)
	}
	// A sound one behind it: what is torn at the end of an incarnation was never answered.
	l.frame(blob.Appended, nil)
	id := must(blob.IDFrom(m.BlobId))
	at, what := int64(id.Offset)+int64(id.Length)-8, "its trailer"
	if l.r.IntN(2) == 0 {
		at, what = int64(id.Offset)+8, "its header"
	}
	files := must(filepath.Glob(filepath.Join(l.folder, "blobs", "*", "*.seg")))
	original := must(os.ReadFile(files[0]))
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			l.Fatal(err)
		}
		before := must(os.ReadFile(name))
		if _, err := f.WriteAt([]byte("spoiled!"), at); err != nil {
			l.Fatal(err)
		}
		if err := f.Close(); err != nil {
			l.Fatal(err)
		}
		opened, err := l.blobs.Open(l.ctx, id)
		if err != nil {
			return fmt.Sprintf("damage of a frame of kind %d in %s", kind, what)
		}
		opened.Close()
		if err := os.WriteFile(name, before, 0o600); err != nil { // another segment
			l.Fatal(err)
		}
	}
	l.Fatalf("no segment of %d octets holds frame %v", len(original), id)
	return ""
}

// countingLedger counts what audits read.
type countingLedger struct {
	ledger.Ledger
	messages int
}

func (l *countingLedger) Walk(ctx context.Context, after envelope.QueueID, limit int) ([]ledger.Account, error) {
	page, err := l.Ledger.Walk(ctx, after, limit)
	l.messages += len(page)
	return page, err
}

// countingBlobs counts what audits read.
type countingBlobs struct {
	blob.Store
	frames, opened int
}

func (b *countingBlobs) Scan(ctx context.Context, from blob.Position, each func(blob.Scanned) error) (blob.Position, error) {
	return b.Store.Scan(ctx, from, func(f blob.Scanned) error {
		b.frames++
		return each(f)
	})
}

func (b *countingBlobs) Open(ctx context.Context, id blob.ID) (*blob.Frame, error) {
	b.opened++
	return b.Store.Open(ctx, id)
}

// TestAuditLooksOnceAtWhatIsSettled has a farm of 3,000 settled messages and one that waits: the second audit reads next to nothing.
func TestAuditLooksOnceAtWhatIsSettled(t *testing.T) {
	if testing.Short() {
		t.Skip("3,000 messages: in the long suite")
	}
	w := newWorld(t)
	waits := w.frame(blob.Accepted, nil, "waits@example.org")
	w.record(waits)
	for range 3000 {
		m := w.frame(blob.Accepted, nil, "a@example.org")
		routed := &storev1.Routed{Message: m, Recipients: []*storev1.RecipientRow{{ForwardPath: "a@example.org", State: storev1.State_STATE_DISCARDED}}}
		must(w.db.Ledger().Record(w.ctx, []*storev1.Routed{routed}))
		w.clock.Advance(5 * time.Second)
	}
	w.clock.Advance(6 * time.Hour)
	w.recover()
	l, b := &countingLedger{Ledger: w.db.Ledger()}, &countingBlobs{Store: w.blobs}
	a := &auditor{ledger: l, blobs: b, cfg: &w.part.cfg, now: w.clock.Now, log: slog.New(slog.DiscardHandler)}
	want := &storev1.AuditResponse{Accepted: 3001, Discarded: 3000, Queued: 1, Frames: 3001}
	for round := range 3 {
		l.messages, b.frames, b.opened = 0, 0, 0
		got := must(a.run(w.ctx, &storev1.AuditRequest{}))
		settled := got.Settled
		got.Settled = 0
		if !proto.Equal(got, want) {
			t.Errorf("audit %d: got %v, want %v", round, got, want)
		}
		if first := round == 0; first != (settled == 0) || first != (b.frames >= 3001) {
			t.Errorf("audit %d: %d counted by what was kept; read %d messages, %d frames, opened %d", round, settled, l.messages, b.frames, b.opened)
		}
		// The first page, and one message of each hour.
		if round > 0 && (b.frames > 0 || b.opened > 4 || l.messages > auditBatch+10) {
			t.Errorf("audit %d: read %d messages, %d frames, opened %d", round, l.messages, b.frames, b.opened)
		}
	}
	w.spoil("DELETE FROM recipient WHERE state = 8")
	if got := must(a.run(w.ctx, &storev1.AuditRequest{})); got.Unaccounted != 0 {
		t.Errorf("got %v: what is settled is looked at again", got)
	}
	if got := must(a.run(w.ctx, &storev1.AuditRequest{Full: true})); got.Unaccounted != 3000 {
		t.Errorf("a full audit: got %d unaccounted, want 3000", got.Unaccounted)
	}
	if got := must(a.run(w.ctx, &storev1.AuditRequest{})); got.Unaccounted != 3000 {
		t.Errorf("after a full audit: got %d unaccounted, want 3000 again", got.Unaccounted)
	}
}

// lateLedger commits something behind each page that an audit reads.
type lateLedger struct {
	ledger.Ledger
	behind func()
}

func (l *lateLedger) Walk(ctx context.Context, after envelope.QueueID, limit int) ([]ledger.Account, error) {
	page, err := l.Ledger.Walk(ctx, after, limit)
	l.behind()
	return page, err
}

// TestAuditCountsWhatIsCommittedLate has a message, and the child of another, committed behind the audit's look at the ledger,
// with a time before the audit's: another process's clock is behind, or its transaction took long.
func TestAuditCountsWhatIsCommittedLate(t *testing.T) {
	w := newWorld(t)
	bounced := w.frame(blob.Accepted, nil, "a@far.example")
	late := w.frame(blob.Accepted, nil, "b@far.example")
	child := w.frame(blob.Generated, nil, "sender@example.net")
	w.record(bounced)
	began := w.clock.Now().Add(time.Second)
	l := &lateLedger{Ledger: w.db.Ledger(), behind: func() {}}
	a := &auditor{ledger: l, blobs: w.blobs, cfg: &w.part.cfg, now: func() time.Time { return began }, log: slog.New(slog.DiscardHandler)}
	l.behind = func() {
		l.behind = func() {}
		w.record(late)
		w.record(child)
	}
	want := &storev1.AuditResponse{Accepted: 2, Generated: 1, Queued: 3, Frames: 3}
	for round := range 2 {
		if got := must(a.run(w.ctx, &storev1.AuditRequest{})); !proto.Equal(got, want) {
			t.Errorf("audit %d: got %v, want %v", round, got, want)
		}
	}
}

// TestAuditRemembersSoMuch has more messages recorded lately than an audit remembers.
func TestAuditRemembersSoMuch(t *testing.T) {
	began := time.Now()
	r := &audit{lately: began.Add(-recordedLate), recent: map[envelope.QueueID]time.Time{}}
	for i := range maxRecent + 1 {
		at := began.Add(-recordedLate + time.Duration(i)*time.Millisecond/2)
		r.met(&ledger.Account{ID: envelope.NewQueueID(at), Recorded: at})
	}
	if n := len(r.recent); n == 0 || n > maxRecent {
		t.Errorf("%d messages are remembered, want some and at most %d", n, maxRecent)
	}
	for _, at := range []time.Time{began.Add(-recordedLate), r.lately} {
		if !r.counted(&ledger.Account{ID: envelope.NewQueueID(at), Recorded: at}) {
			t.Errorf("what was recorded at %v counts as not met", at)
		}
	}
	if at := began.Add(recordedLate); r.counted(&ledger.Account{ID: envelope.NewQueueID(at), Recorded: at}) {
		t.Error("what nobody met counts as met")
	}
}
