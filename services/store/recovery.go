package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reclaim"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// recovery publishes again what is durable, accepted and not in the ledger (design §4).
//
// It reads each incarnation's frames in segment order from a checkpoint on, which never passes a frame that is not accounted
// for: in the ledger, in the outbox, refused or discarded by the verdict in its tail, or noted as beyond the horizon. What is
// left is a candidate. Candidates wait until the consumers have passed all that was on mail.accepted when they were noted,
// and then all that was on mail.filtered; those that still have no row are published once, and wait again. So a stopped
// router never makes recovery publish a backlog twice. A stream that was wiped meanwhile is not waited for.
type recovery struct {
	ledger  ledger.Ledger
	blobs   blob.Store
	bus     WorkBus
	cfg     *LedgerConfig
	log     *slog.Logger
	now     func() time.Time
	metrics *ledgerMetrics
	// books takes notes of frames before the checkpoint passes them; nil for none.
	books reclaim.Books

	// round is the one under way. Only the worker uses it; one that is lost with the process or the lease begins anew.
	round *round
	told  bool // that recovery is held
	// quiet is the wait that looks without a frame have earned: a farm without mail asks the blob store seldom.
	quiet time.Duration
	// unreadable are incarnations that could not be read to their end, with when that was; ahead is by how much the clocks of
	// writers run ahead of ours, as far as their frames have shown.
	unreadable map[uint64]time.Time
	ahead      map[uint64]time.Duration
}

func newRecovery(deps LedgerDeps, cfg *LedgerConfig, m *ledgerMetrics) *recovery {
	return &recovery{
		ledger: deps.Ledger, blobs: deps.Blobs, bus: deps.Bus, cfg: cfg, log: deps.Log, now: deps.Now, metrics: m, books: deps.Notes,
		unreadable: map[uint64]time.Time{}, ahead: map[uint64]time.Duration{},
	}
}

// candidate is a durable frame without a row.
type candidate struct {
	id   envelope.QueueID
	blob blob.ID
	tail *mailv1.FrameTail
	// released was beyond the horizon, and an operator let it go.
	released bool
}

// round is a set of candidates with the mark that it waits for.
type round struct {
	candidates []candidate
	// mark is the end of the subject whose consumers are waited for.
	mark bus.Mark
	// since is when that wait, or the last stretch of it, began, with the backlog and the end of the stream then.
	since             time.Time
	backlog, sequence uint64
}

// patience bounds the wait for a mark while the consumers work: a message that one cannot settle, whose frame cannot be read,
// say, must not keep all that was lost from being published. What is published a second time does no harm: the ledger knows
// its queue id.
const patience = 10 * time.Minute

// step goes one step on: it looks for candidates, or asks whether the wait for the present ones is over.
func (r *recovery) step(ctx context.Context) (more bool, err error) {
	if r.round == nil {
		return r.begin(ctx)
	}
	return r.advance(ctx)
}

// pause is the wait before the next look: it doubles while looks meet no frame, up to the age at which a frame is looked
// after at all.
func (r *recovery) pause() time.Duration {
	return max(r.cfg.RecoverEvery, min(r.quiet, r.cfg.RecoverAfter))
}

// begin looks for candidates and marks the end of mail.accepted.
func (r *recovery) begin(ctx context.Context) (more bool, err error) {
	found, err := r.released(ctx)
	if err != nil {
		return false, err
	}
	s := &scanner{recovery: r, candidates: found}
	if err := s.scanAll(ctx); err != nil {
		return false, err
	}
	r.quiet = 2 * r.pause()
	if s.met || len(s.candidates) > 0 {
		r.quiet = 0
	}
	r.metrics.candidates.Set(float64(len(s.candidates)))
	if len(s.candidates) == 0 {
		return false, nil
	}
	if r.cfg.RecoverHeld {
		if !r.told {
			r.log.WarnContext(ctx, "recovery is held", obs.Count(len(s.candidates)))
		}
		r.told = true
		return false, nil
	}
	fault.Point("store.recovery-before-mark")
	next := &round{candidates: s.candidates}
	if err := r.wait(ctx, next, bus.Accepted); err != nil {
		return false, err
	}
	r.round = next
	return true, nil
}

// advance asks whether the mark has been passed, and then marks the next stream or publishes.
func (r *recovery) advance(ctx context.Context) (more bool, err error) {
	passed, same, err := r.bus.Passed(ctx, r.round.mark)
	if err != nil {
		return false, fmt.Errorf("look at the consumers of %s: %w", r.round.mark.Subject, err)
	}
	if same && !passed {
		if over, err := r.outOfPatience(ctx); err != nil || !over {
			return false, err
		}
	}
	if r.round.mark.Subject == bus.Accepted {
		err := r.wait(ctx, r.round, bus.Filtered)
		return err == nil, err
	}
	err = r.publish(ctx, r.round.candidates)
	if err == nil {
		// Whatever became of them, the next look begins at the checkpoint again.
		r.round = nil
	}
	return false, err
}

// wait begins to wait for the end of a subject's stream.
func (r *recovery) wait(ctx context.Context, to *round, s bus.Subject) error {
	// What is published in between must not look settled: the backlog first.
	backlog, err := r.bus.Backlog(ctx, s)
	if err != nil {
		return fmt.Errorf("look at the backlog of %s: %w", s, err)
	}
	mark, err := r.bus.Mark(ctx, s)
	if err != nil {
		return fmt.Errorf("mark %s: %w", s, err)
	}
	to.mark, to.since, to.backlog, to.sequence = mark, r.now(), backlog, mark.Sequence
	return nil
}

// outOfPatience tells whether the consumers have settled more since the wait began than they have left, and yet the mark is
// not passed. Those that stand still, or have a backlog to work off, are waited for.
func (r *recovery) outOfPatience(ctx context.Context) (bool, error) {
	w := r.round
	if r.now().Sub(w.since) < patience {
		return false, nil
	}
	now := round{}
	subject := w.mark.Subject
	end, err := r.bus.Mark(ctx, subject)
	if err == nil {
		err = r.wait(ctx, &now, subject)
	}
	if err != nil {
		return false, err
	}
	if left := now.backlog; w.backlog+(end.Sequence-w.sequence) >= 2*left && left > 0 {
		r.log.WarnContext(ctx, "recovery waits no longer for what is before its mark", slog.String("subject", string(subject)), slog.Uint64("backlog", left))
		return true, nil
	}
	w.since, w.backlog, w.sequence = now.since, now.backlog, now.sequence
	return false, nil
}

// publish puts those on the bus that still have no row.
func (r *recovery) publish(ctx context.Context, candidates []candidate) error {
	lost, err := r.stillUnknown(ctx, candidates)
	if err != nil {
		return err
	}
	var accepted, filtered batch
	for _, c := range lost {
		m, err := acceptedOf(c)
		if err != nil {
			return fmt.Errorf("message %s: %w", c.id, err)
		}
		to := &accepted
		if c.tail.Verdict != nil {
			to = &filtered
		}
		to.keys, to.payloads = append(to.keys, ledger.QueueKey(c.id)), append(to.payloads, m)
		r.log.InfoContext(ctx, "recovered", obs.QueueID(c.id), obs.ReversePath(envelope.ReversePath(c.tail.GetEnvelope().GetReversePath())))
	}
	fault.Point("store.recovery-before-publish")
	if err := accepted.publish(ctx, r.bus, bus.Accepted); err != nil {
		return fmt.Errorf("publish %d messages: %w", len(accepted.keys), err)
	}
	fault.Point("store.recovery-between-publishes")
	if err := filtered.publish(ctx, r.bus, bus.Filtered); err != nil {
		return fmt.Errorf("publish %d messages: %w", len(filtered.keys), err)
	}
	fault.Point("store.recovery-after-publish")
	r.metrics.recovered.Add(float64(len(lost)))
	return nil
}

// stillUnknown leaves out those that the ledger or the outbox has by now.
func (r *recovery) stillUnknown(ctx context.Context, candidates []candidate) ([]candidate, error) {
	ids := make([][]byte, len(candidates))
	for i := range candidates {
		ids[i] = candidates[i].id[:]
	}
	known, err := r.ledger.Known(ctx, ids)
	if err != nil {
		return nil, err
	}
	waiting, err := r.ledger.Waiting(ctx, ids)
	if err != nil {
		return nil, err
	}
	var lost []candidate
	for i, c := range candidates {
		if !known[i].Found && !waiting[i] {
			lost = append(lost, c)
		}
	}
	return lost, nil
}

// Bounds of what is put on the bus; what is larger is read from the frame's tail.
const (
	maxPartIndex = 32 << 10
	maxPayload   = 256 << 10
)

// acceptedOf encodes what the bus carries of a frame.
func acceptedOf(c candidate) ([]byte, error) {
	m := &mailv1.Accepted{QueueId: c.id[:], BlobId: c.blob.Bytes(), Envelope: c.tail.Envelope, Verdict: c.tail.Verdict, Overlay: c.tail.Overlay}
	if len(c.tail.PartIndex) <= maxPartIndex {
		m.PartIndex = c.tail.PartIndex
	}
	b, err := proto.Marshal(m)
	if err == nil && len(b) > maxPayload {
		b, err = proto.Marshal(&mailv1.Accepted{QueueId: m.QueueId, BlobId: m.BlobId})
	}
	return b, err
}

// released finds frames beyond the horizon that an operator let go, and forgets those that the ledger has.
func (r *recovery) released(ctx context.Context) ([]candidate, error) {
	frames, err := r.ledger.Withheld(ctx, ledger.Released, envelope.QueueID{}, r.cfg.RecoverBatch)
	if err != nil || len(frames) == 0 {
		return nil, err
	}
	ids := make([][]byte, len(frames))
	for i := range frames {
		ids[i] = frames[i].ID[:]
	}
	known, err := r.ledger.Known(ctx, ids)
	if err != nil {
		return nil, err
	}
	var done [][]byte
	var found []candidate
	for i, f := range frames {
		if known[i].Found {
			done = append(done, ids[i])
			continue
		}
		tail, err := r.readTail(ctx, f.BlobID)
		if err != nil {
			r.log.ErrorContext(ctx, "released message cannot be read", obs.QueueID(f.ID), obs.Error(err))
			continue
		}
		found = append(found, candidate{id: f.ID, blob: f.BlobID, tail: slim(tail), released: true})
	}
	if len(done) > 0 {
		return found, r.ledger.DropWithheld(ctx, done)
	}
	return found, nil
}

func (r *recovery) readTail(ctx context.Context, id blob.ID) (*mailv1.FrameTail, error) {
	f, err := r.blobs.Open(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("open frame %v: %w", id, err)
	}
	defer f.Close()
	return decodeTail(f.Meta.Tail)
}

func decodeTail(b []byte) (*mailv1.FrameTail, error) {
	tail := &mailv1.FrameTail{}
	if err := proto.Unmarshal(b, tail); err != nil {
		return nil, fmt.Errorf("decode a frame's tail: %w", err)
	}
	return tail, nil
}

// slim drops a part index that would not go on the bus: many candidates are held at once.
func slim(tail *mailv1.FrameTail) *mailv1.FrameTail {
	if len(tail.PartIndex) > maxPartIndex {
		tail.PartIndex = nil
	}
	return tail
}
