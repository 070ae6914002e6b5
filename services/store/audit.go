package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// auditor accounts for every accepted recipient by comparing sets of (queue id, recipient number): blobs, ledger, index.
//
// It goes twice, in batches, so that its memory does not grow with the farm. First over the ledger: every row recorded
// before the audit began is counted in its state; one that says delivered must have its dedupe row in the index and
// its frame, one that waits its frame. Then over the blob store: every accepted recipient must have a row, or be on its way to one:
// young, at or behind recovery's checkpoint, in the outbox; or be settled on record. What is none of these is unaccounted.
type auditor struct {
	ledger  ledger.Ledger
	blobs   blob.Store
	cfg     *LedgerConfig
	now     func() time.Time
	log     *slog.Logger
	metrics *ledgerMetrics

	mu sync.Mutex // held by the audit that runs
}

const (
	// auditBatch is how many messages are compared at once.
	auditBatch = 512
	// maxFindings bounds what an audit tells one by one; it counts all.
	maxFindings = 1000
)

// auditNames are the counts of an audit, as in AuditResponse, in JSON and in metrics.
var auditNames = []string{"accepted", "delivered", "relayed", "bounced", "expanded", "discarded", "quarantined", "pending",
	"queued", "held", "dead", "unaccounted", "added", "generated", "frames"}

// auditCounts tells the counts in the order of auditNames.
func auditCounts(r *storev1.AuditResponse) []uint64 {
	return []uint64{r.Accepted, r.Delivered, r.Relayed, r.Bounced, r.Expanded, r.Discarded, r.Quarantined, r.Pending,
		r.Queued, r.Held, r.Dead, r.Unaccounted, r.Added, r.Generated, r.Frames}
}

// step is the worker's audit of everything.
func (a *auditor) step(ctx context.Context) (more bool, err error) {
	_, err = a.run(ctx, 0)
	return false, err
}

// run audits what was accepted since a time, nanoseconds since 1970; 0 is everything, which also sets the metrics.
func (a *auditor) run(ctx context.Context, sinceNs int64) (*storev1.AuditResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := &audit{auditor: a, began: a.now(), out: &storev1.AuditResponse{}}
	if sinceNs > 0 {
		r.since = time.Unix(0, sinceNs)
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
	if err := r.walkBlobs(ctx); err != nil {
		return nil, fmt.Errorf("audit the blob store: %w", err)
	}
	if err := r.countOutbox(ctx); err != nil {
		return nil, fmt.Errorf("audit the outbox: %w", err)
	}
	if sinceNs == 0 {
		for i, n := range auditCounts(r.out) {
			a.metrics.audit[auditNames[i]].Set(float64(n))
		}
		a.metrics.audited.Set(float64(a.now().UnixNano()) / 1e9)
	}
	if r.out.Unaccounted > 0 {
		a.log.ErrorContext(ctx, "audit found unaccounted recipients", slog.Uint64("unaccounted", r.out.Unaccounted))
		for _, f := range r.out.Findings[:min(len(r.out.Findings), 10)] {
			a.log.ErrorContext(ctx, "unaccounted", obs.QueueID(idOf(f.QueueId)), obs.Recipient(uint32(f.Number)), obs.Reason(f.Problem))
		}
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
	began       time.Time
	since       time.Time
	checkpoints map[uint64]ledger.Checkpoint
	// outbox holds the messages that stood in the outbox while the audit went on, with how many recipients each has.
	outbox map[envelope.QueueID]uint64
	out    *storev1.AuditResponse
}

func (r *audit) find(id envelope.QueueID, number int32, problem string) {
	if len(r.out.Findings) < maxFindings {
		r.out.Findings = append(r.out.Findings, &storev1.Finding{QueueId: id[:], Number: number, Problem: problem})
	}
}

func (r *audit) unaccounted(id envelope.QueueID, number uint32, problem string) {
	r.out.Unaccounted++
	r.find(id, int32(number), problem)
}

func (r *audit) walkLedger(ctx context.Context) error {
	var after envelope.QueueID
	for {
		page, err := r.ledger.Walk(ctx, after, auditBatch)
		if err != nil {
			return err
		}
		for i := range page {
			m := &page[i]
			after = m.ID
			if m.Recorded.After(r.began) || m.Accepted.Before(r.since) {
				continue
			}
			if err := r.countMessage(ctx, m); err != nil {
				return err
			}
		}
		if len(page) < auditBatch {
			return nil
		}
	}
}

// countMessage counts the rows of a message, and recipients of its envelope that have none.
func (r *audit) countMessage(ctx context.Context, m *ledger.Account) error {
	generated := m.Kind == mailv1.Kind_KIND_GENERATED
	lost, err := r.bodyLost(ctx, m)
	if err != nil {
		return err
	}
	for _, row := range m.Rows {
		problem := problemOf(row)
		switch {
		case lost && !ledger.IsFinal(row.State):
			problem = "it waits, but its frame is not in the blob store"
		case lost && row.State == storev1.State_STATE_DELIVERED:
			problem = "a mailbox has it, but its frame is not in the blob store"
		}
		switch {
		case problem != "":
			r.unaccounted(m.ID, row.Number, problem)
		default:
			r.countState(row.State)
			if row.Filed && row.State != storev1.State_STATE_DELIVERED && ledger.IsFinal(row.State) {
				r.find(m.ID, int32(row.Number), "a mailbox has it, although the ledger says "+row.State.String())
			}
		}
		switch {
		case generated:
			r.out.Generated++
		case row.Number >= m.Envelope:
			r.out.Added++
		default:
			r.out.Accepted++
		}
	}
	for n := range m.Envelope {
		if !m.Has(n) {
			r.unaccounted(m.ID, n, "the ledger has the message, but no row for the recipient")
			if generated {
				r.out.Generated++
			} else {
				r.out.Accepted++
			}
		}
	}
	return nil
}

// problemOf says what is wrong with a row, or nothing.
func problemOf(row ledger.AccountRow) string {
	if row.State == storev1.State_STATE_DELIVERED && !row.Filed {
		return "the ledger says delivered, but no mailbox has it"
	}
	if row.State < storev1.State_STATE_QUEUED || row.State > storev1.State_STATE_DEAD {
		return "the ledger has it in no state"
	}
	return ""
}

// bodyLost tells whether a message that waits or lies in a mailbox has lost its frame.
func (r *audit) bodyLost(ctx context.Context, m *ledger.Account) (bool, error) {
	needed := false
	for _, row := range m.Rows {
		needed = needed || !ledger.IsFinal(row.State) || row.State == storev1.State_STATE_DELIVERED
	}
	if !needed {
		return false, nil
	}
	id, err := blob.IDFrom(m.BlobID)
	if err != nil {
		return true, nil
	}
	f, err := r.blobs.Open(ctx, id)
	switch {
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCorrupt):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("open frame %v: %w", id, err)
	}
	return false, f.Close()
}

func (r *audit) countState(s storev1.State) {
	out := r.out
	counts := map[storev1.State]*uint64{
		storev1.State_STATE_QUEUED: &out.Queued, storev1.State_STATE_HELD: &out.Held, storev1.State_STATE_QUARANTINED: &out.Quarantined,
		storev1.State_STATE_DELIVERED: &out.Delivered, storev1.State_STATE_RELAYED: &out.Relayed, storev1.State_STATE_BOUNCED: &out.Bounced,
		storev1.State_STATE_EXPANDED: &out.Expanded, storev1.State_STATE_DISCARDED: &out.Discarded, storev1.State_STATE_DEAD: &out.Dead,
	}
	*counts[s]++
}

// walkBlobs looks for accepted recipients that the first pass cannot have met.
func (r *audit) walkBlobs(ctx context.Context) error {
	incarnations, err := r.blobs.Incarnations(ctx)
	if err != nil {
		return fmt.Errorf("list incarnations: %w", err)
	}
	for _, inc := range incarnations {
		var frames []blob.Scanned
		_, err := r.blobs.Scan(ctx, blob.Position{Incarnation: inc.ID}, func(f blob.Scanned) error {
			r.out.Frames++
			if f.Err != nil {
				// Its recipients cannot be told any more: that there were some is what counts.
				r.out.Accepted++
				r.unaccounted(f.Meta.QueueID, 0, fmt.Sprintf("frame %v is damaged", f.ID))
				return nil
			}
			if f.Meta.Kind != blob.Accepted {
				return nil
			}
			if frames = append(frames, f); len(frames) < auditBatch {
				return nil
			}
			err := r.compare(ctx, frames)
			frames = frames[:0]
			return err
		})
		if err == nil {
			err = r.compare(ctx, frames)
		}
		if err != nil {
			return fmt.Errorf("incarnation %d: %w", inc.ID, err)
		}
	}
	return nil
}

// compare finds the rows of accepted frames.
func (r *audit) compare(ctx context.Context, frames []blob.Scanned) error {
	if len(frames) == 0 {
		return nil
	}
	rows, err := r.ledger.Accounts(ctx, idsOf(frames))
	if err != nil {
		return err
	}
	var unknown []blob.Scanned
	for i, f := range frames {
		if rows[i] == nil {
			unknown = append(unknown, f)
			continue
		}
		if err := r.compareOne(ctx, f, rows[i]); err != nil {
			return err
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	return r.explain(ctx, unknown)
}

func idsOf(frames []blob.Scanned) [][]byte {
	ids := make([][]byte, len(frames))
	for i := range frames {
		ids[i] = frames[i].Meta.QueueID[:]
	}
	return ids
}

// compareOne checks a frame against its message's rows. Those recorded since the audit began are counted here.
func (r *audit) compareOne(ctx context.Context, f blob.Scanned, m *ledger.Account) error {
	tail, err := decodeTail(f.Meta.Tail)
	if err != nil {
		r.out.Accepted++
		r.unaccounted(f.Meta.QueueID, 0, err.Error())
		return nil
	}
	if string(m.BlobID) != string(f.ID.Bytes()) {
		for _, to := range tail.GetEnvelope().GetRecipients() {
			r.out.Accepted++
			r.unaccounted(f.Meta.QueueID, to.Number, fmt.Sprintf("the ledger has the id with another frame than %v", f.ID))
		}
		return nil
	}
	if m.Accepted.Before(r.since) {
		return nil
	}
	if m.Recorded.After(r.began) {
		if err := r.countMessage(ctx, m); err != nil {
			return err
		}
	}
	for _, to := range tail.GetEnvelope().GetRecipients() {
		// What the message's row says it has was looked for by countMessage.
		if to.Number >= m.Envelope && !m.Has(to.Number) {
			r.out.Accepted++
			r.unaccounted(m.ID, to.Number, "the frame has the recipient, the ledger does not")
		}
	}
	return nil
}

// unknownFrame is an accepted frame that the ledger has no row of.
type unknownFrame struct {
	blob.Scanned
	tail     *mailv1.FrameTail
	decision ledger.Decision
	waiting  bool
}

// explain says why accepted frames have no rows.
func (r *audit) explain(ctx context.Context, frames []blob.Scanned) error {
	ids := idsOf(frames)
	decisions, err := r.ledger.Decisions(ctx, ids)
	if err != nil {
		return err
	}
	waiting, err := r.ledger.Waiting(ctx, ids)
	if err != nil {
		return err
	}
	// What was routed, or pruned, while we looked has its explanation by now.
	rows, err := r.ledger.Accounts(ctx, ids)
	if err != nil {
		return err
	}
	pruned, err := r.ledger.PrunedBefore(ctx)
	if err != nil {
		return err
	}
	for i, f := range frames {
		if rows[i] != nil {
			if err := r.compareOne(ctx, f, rows[i]); err != nil {
				return err
			}
			continue
		}
		u := unknownFrame{Scanned: f, decision: decisions[i], waiting: waiting[i]}
		u.tail, err = decodeTail(f.Meta.Tail)
		if err == nil && len(u.tail.GetEnvelope().GetRecipients()) == 0 {
			err = errNoRecipient
		}
		if err != nil {
			r.out.Accepted++
			r.unaccounted(f.Meta.QueueID, 0, err.Error())
			continue
		}
		r.explainOne(u, pruned)
	}
	return nil
}

func (r *audit) explainOne(f unknownFrame, pruned time.Time) {
	accepted := time.Unix(0, f.tail.GetEnvelope().GetAcceptedNs())
	passed := r.checkpoints[f.ID.Incarnation].Passed(f.ID)
	verdict := f.tail.GetVerdict().GetAction()
	if accepted.Before(r.since) || verdict == mailv1.Action_ACTION_REJECT {
		return // not asked for, or never accepted
	}
	count, problem := (*uint64)(nil), ""
	switch {
	case f.decision == ledger.Undecided:
		problem = "it is beyond recovery's horizon: release or delete it"
	case f.decision == ledger.Discarded, verdict == mailv1.Action_ACTION_DISCARD:
		count = &r.out.Discarded
	case f.decision == ledger.Released, f.waiting, !passed:
		count = &r.out.Pending
	case accepted.Before(pruned):
		return // final and old: its rows went
	default:
		problem = "it is durable and behind recovery's checkpoint, but not in the ledger"
	}
	for _, to := range f.tail.GetEnvelope().GetRecipients() {
		r.out.Accepted++
		if problem != "" {
			r.unaccounted(f.Meta.QueueID, to.Number, problem)
			continue
		}
		*count++
	}
}
