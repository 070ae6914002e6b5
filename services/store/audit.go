package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// auditor accounts for every accepted recipient by comparing sets of (queue id, recipient number): blobs, ledger, index.
//
// It goes twice, in batches, so that its memory does not grow with the farm. First over the ledger: every row that it meets
// is counted in its state; one that says delivered must have its dedupe row in the index and its frame, one that waits its
// frame. Then over the blob store: every accepted recipient must have a row, which is counted now if the first pass did not
// meet it, or be on its way to one: young, at or behind recovery's checkpoint, in the outbox; or be settled on record. What
// is none of these is unaccounted.
//
// What is settled stays as it is, so it is counted once and kept: the ledger by hours, the blob store by stretches of
// segments, each with the ids of what is still open in it. A later audit adds up what was kept and looks at what is open and
// new. Whoever changes what was kept takes it away in the same transaction (ledger.Audits). A full audit looks at everything
// again: it finds what was settled and is lost since.
type auditor struct {
	ledger ledger.Ledger
	blobs  blob.Store
	cfg    *LedgerConfig
	holder string
	// referred is LedgerDeps.Referred.
	referred func(ctx context.Context, ids []blob.ID) ([]bool, error)
	now      func() time.Time
	log      *slog.Logger
	metrics  *auditMetrics

	mu sync.Mutex // held by the audit that runs

	// next is when the worker audits again, stepped when it last looked; only the worker uses them.
	next, stepped time.Time
}

const (
	// auditBatch is how many messages are compared at once.
	auditBatch = 512
	// maxFindings bounds what an audit tells one by one; it counts all.
	maxFindings = 1000
	// maxOpen is how many open ids are kept with an hour or a stretch; with more it is looked at as a whole again.
	maxOpen = 4096
	// maxStretch is how many frames are kept as one stretch.
	maxStretch = 1 << 16
	// maxUnread is how many frames and incarnations may answer with errors before an audit ends.
	maxUnread = 16
	// recordedLate is how far clocks may differ, and how long a message may take from its time of recording to its commit.
	recordedLate = 2 * time.Minute
	// maxRecent bounds what is remembered of messages that were recorded lately; with more, less of the time counts as lately.
	maxRecent = 1 << 17
	// unreadPause is when the worker audits again at the latest, where not all could be read.
	unreadPause = time.Minute
	// maxDamaged bounds what is remembered of lost frames, so that one that is met damaged is not counted twice.
	maxDamaged = 1 << 16
)

// auditNames are the counts of an audit, as in AuditResponse, in JSON and in metrics.
var auditNames = []string{"accepted", "delivered", "relayed", "bounced", "expanded", "discarded", "quarantined", "pending",
	"queued", "held", "dead", "unaccounted", "added", "generated", "frames"}

// auditFields are the counts in the order of auditNames.
func auditFields(r *storev1.AuditResponse) []*uint64 {
	return []*uint64{&r.Accepted, &r.Delivered, &r.Relayed, &r.Bounced, &r.Expanded, &r.Discarded, &r.Quarantined, &r.Pending,
		&r.Queued, &r.Held, &r.Dead, &r.Unaccounted, &r.Added, &r.Generated, &r.Frames}
}

// auditCounts tells the counts in the order of auditNames.
func auditCounts(r *storev1.AuditResponse) []uint64 {
	counts := make([]uint64, len(auditNames))
	for i, n := range auditFields(r) {
		counts[i] = *n
	}
	return counts
}

// addCounts adds counts and findings, of these at most maxFindings.
func addCounts(to, more *storev1.AuditResponse) {
	fields := auditFields(to)
	for i, n := range auditFields(more) {
		*fields[i] += *n
	}
	room := max(0, maxFindings-len(to.Findings))
	to.Findings = append(to.Findings, more.Findings[:min(room, len(more.Findings))]...)
}

// step is the elected auditor's: it audits everything when it is time to, and at once when this process was elected.
func (a *auditor) step(ctx context.Context) (more bool, err error) {
	now := a.now()
	elected := a.stepped.IsZero() || now.Sub(a.stepped) > a.cfg.Lease
	a.stepped = now
	a.metrics.hold(now.Add(a.cfg.Lease))
	if !elected && now.Before(a.next) {
		return false, nil
	}
	a.metrics.busy(true)
	err = a.report(ctx, now)
	a.metrics.busy(false)
	if isUnreadable(err) {
		a.next = now.Add(min(a.cfg.AuditEvery, unreadPause)) // all else was looked at
	}
	if err != nil {
		return false, err
	}
	a.stepped = a.now()
	a.metrics.hold(a.stepped.Add(a.cfg.Lease))
	a.next = now.Add(a.cfg.AuditEvery)
	return false, nil
}

// report audits everything and keeps the result for all to see.
func (a *auditor) report(ctx context.Context, now time.Time) error {
	last, err := a.ledger.LastAudit(ctx)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if last.Auditor != a.holder {
		a.log.InfoContext(ctx, "elected auditor", slog.String("before", last.Auditor))
	}
	report := ledger.AuditReport{Auditor: a.holder, Full: last.Full}
	full := last.Result == nil || now.Sub(last.Full) >= a.cfg.AuditFullEvery
	if full {
		report.Full = now
	}
	if report.Result, err = a.run(ctx, &storev1.AuditRequest{Full: full}); err != nil {
		return err
	}
	report.At = a.now()
	if err := a.ledger.SaveAudit(ctx, report); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	a.metrics.show(report)
	return nil
}

// answer serves an operator's request, on whichever process it comes to.
func (a *auditor) answer(ctx context.Context, req *storev1.AuditRequest) (*storev1.AuditResponse, error) {
	last, err := a.ledger.LastAudit(ctx)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	r := last.Result
	switch {
	case !req.Last:
		if r, err = a.run(ctx, req); err != nil {
			return nil, err
		}
	case r == nil:
		return nil, fmt.Errorf("%w: there was no audit yet", ledger.ErrNotFound)
	}
	if last.Result != nil {
		r.Auditor, r.AuditedNs = last.Auditor, last.At.UnixNano()
	}
	return r, nil
}

// run makes one audit.
func (a *auditor) run(ctx context.Context, req *storev1.AuditRequest) (*storev1.AuditResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := &audit{auditor: a, full: req.Full, began: a.now(), out: &storev1.AuditResponse{}, lost: map[blob.Position]bool{}}
	r.lately, r.recent = r.began.Add(-recordedLate), map[envelope.QueueID]time.Time{}
	if req.SinceNs > 0 {
		r.since = time.Unix(0, req.SinceNs)
	}
	if req.UntilNs > 0 {
		r.until = time.Unix(0, req.UntilNs)
	}
	var err error
	if r.checkpoints, err = a.ledger.Checkpoints(ctx); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if err := r.readOutbox(ctx); err != nil {
		return nil, fmt.Errorf("audit the outbox: %w", err)
	}
	if err := r.walkLedger(ctx); err != nil {
		return nil, fmt.Errorf("audit the ledger: %w", err)
	}
	// Once more: the child of a recipient that the ledger called bounced stands there now, or its frame has a row already.
	if err := r.readOutbox(ctx); err != nil {
		return nil, fmt.Errorf("audit the outbox: %w", err)
	}
	if err := r.walkBlobs(ctx); err != nil {
		return nil, fmt.Errorf("audit the blob store: %w", err)
	}
	if err := r.countOutbox(ctx); err != nil {
		return nil, fmt.Errorf("audit the outbox: %w", err)
	}
	if r.out.Unaccounted > 0 {
		a.log.ErrorContext(ctx, "audit found unaccounted recipients", slog.Uint64("unaccounted", r.out.Unaccounted))
		for _, f := range r.out.Findings[:min(len(r.out.Findings), 10)] {
			a.log.ErrorContext(ctx, "unaccounted", obs.QueueID(idOf(f.QueueId)), obs.Recipient(uint32(f.Number)), obs.Reason(f.Problem))
		}
	}
	if err := errors.Join(r.unread...); err != nil {
		return nil, fmt.Errorf("audit found %d recipients unaccounted, but could not read everything: %w", r.out.Unaccounted, err)
	}
	return r.out, nil
}

func idOf(b []byte) (id envelope.QueueID) {
	copy(id[:], b)
	return id
}

// audit is one run.
type audit struct {
	*auditor
	full         bool
	began        time.Time
	since, until time.Time // zero is no bound
	checkpoints  map[uint64]ledger.Checkpoint
	// outbox holds the messages that stood in the outbox while the audit went on, with how many recipients each has.
	outbox map[envelope.QueueID]uint64
	// recent are the messages that the first pass counted and that were recorded after lately. The time alone does not tell
	// what it met: a message is committed later than its time, which is another process's.
	recent map[envelope.QueueID]time.Time
	lately time.Time
	// lost are places of frames that the ledger asked for in vain: what is met there is counted already.
	lost map[blob.Position]bool
	// unread are errors of what could not be read while the rest was looked at: the audit fails, but tells of what it found.
	unread []error
	out    *storev1.AuditResponse
}

// passOver notes what could not be read, so that the audit goes on with the rest; an error where that is too much.
func (r *audit) passOver(err error) error {
	if r.unread = append(r.unread, err); len(r.unread) >= maxUnread {
		return errors.Join(r.unread...)
	}
	return nil
}

// keeps tells whether what is settled is kept: all was asked for, and could be read.
func (r *audit) keeps() bool { return !r.ranged() && len(r.unread) == 0 }

// ranged tells whether only a part was asked for; nothing is kept then.
func (r *audit) ranged() bool { return !r.since.IsZero() || !r.until.IsZero() }

// asked tells whether what was accepted at a time was asked for.
func (r *audit) asked(accepted time.Time) bool {
	return !accepted.Before(r.since) && (r.until.IsZero() || !accepted.After(r.until))
}

// met notes that the first pass counts a message, and tells whether it was recorded lately.
func (r *audit) met(m *ledger.Account) bool {
	if !m.Recorded.After(r.lately) {
		return false
	}
	r.recent[m.ID] = m.Recorded
	for len(r.recent) > maxRecent {
		newest := r.lately
		for _, at := range r.recent {
			if at.After(newest) {
				newest = at
			}
		}
		r.lately = r.lately.Add((newest.Sub(r.lately) + 1) / 2)
		maps.DeleteFunc(r.recent, func(_ envelope.QueueID, at time.Time) bool { return !at.After(r.lately) })
	}
	return true
}

// counted tells whether the first pass has counted a message.
func (r *audit) counted(m *ledger.Account) bool {
	_, met := r.recent[m.ID]
	return met || !m.Recorded.After(r.lately)
}

// rest lets mail go first.
func (r *audit) rest(ctx context.Context) error {
	if r.cfg.AuditPause < 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(r.cfg.AuditPause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// finding is an unaccounted recipient, or with count false a fault found on the way.
func finding(to *storev1.AuditResponse, id envelope.QueueID, number int32, problem string, count bool) {
	if count {
		to.Unaccounted++
	}
	if len(to.Findings) < maxFindings {
		to.Findings = append(to.Findings, &storev1.Finding{QueueId: id[:], Number: number, Problem: problem})
	}
}

// unit is a storev1.AuditUnit in the making.
type unit struct {
	*storev1.AuditUnit
	// broken is one that cannot be kept.
	broken bool
}

func newUnit() *unit { return &unit{AuditUnit: &storev1.AuditUnit{Counts: &storev1.AuditResponse{}}} }

// add enters one message or frame: its counts where it is settled, else its id.
func (u *unit) add(one *storev1.AuditResponse, settled bool, id []byte, accepted time.Time) {
	u.saw(accepted)
	if settled {
		addCounts(u.Counts, one)
		return
	}
	if u.Open = append(u.Open, id); len(u.Open) > maxOpen {
		u.broken, u.Open = true, u.Open[:0]
	}
}

// saw widens the unit's time by that of one that belongs to it.
func (u *unit) saw(accepted time.Time) {
	ns := accepted.UnixNano()
	if u.Looked == 0 || ns < u.FirstNs {
		u.FirstNs = ns
	}
	if u.Looked == 0 || ns > u.LastNs {
		u.LastNs = ns
	}
	u.Looked++
}

// inside tells whether all of a unit, or none of it, was asked for.
func (r *audit) inside(u *storev1.AuditUnit) (all, none bool) {
	first, last := time.Unix(0, u.FirstNs), time.Unix(0, u.LastNs)
	all = r.asked(first) && r.asked(last)
	none = last.Before(r.since) || !r.until.IsZero() && first.After(r.until)
	return all, none && u.Looked > 0
}

func decodeUnit(b []byte) (*storev1.AuditUnit, error) {
	u := &storev1.AuditUnit{}
	if err := proto.Unmarshal(b, u); err != nil {
		return nil, fmt.Errorf("decode what an audit kept: %w", err)
	}
	if u.Counts == nil {
		u.Counts = &storev1.AuditResponse{}
	}
	return u, nil
}
