package store

import (
	"context"
	"errors"
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

	// round is the one under way. Only the worker uses it; one that is lost with the process or the lease begins anew.
	round *round
	told  bool // that recovery is held
}

func newRecovery(deps LedgerDeps, cfg *LedgerConfig, m *ledgerMetrics) *recovery {
	return &recovery{ledger: deps.Ledger, blobs: deps.Blobs, bus: deps.Bus, cfg: cfg, log: deps.Log, now: deps.Now, metrics: m}
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
	// behind is the subject whose consumers are waited for.
	mark bus.Mark
}

// step goes one step on: it looks for candidates, or asks whether the wait for the present ones is over.
func (r *recovery) step(ctx context.Context) (more bool, err error) {
	if r.round == nil {
		return r.begin(ctx)
	}
	return r.advance(ctx)
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
	mark, err := r.bus.Mark(ctx, bus.Accepted)
	if err != nil {
		return false, fmt.Errorf("mark %s: %w", bus.Accepted, err)
	}
	r.round = &round{candidates: s.candidates, mark: mark}
	return true, nil
}

// advance asks whether the mark has been passed, and then marks the next stream or publishes.
func (r *recovery) advance(ctx context.Context) (more bool, err error) {
	passed, same, err := r.bus.Passed(ctx, r.round.mark)
	if err != nil {
		return false, fmt.Errorf("look at the consumers of %s: %w", r.round.mark.Subject, err)
	}
	if same && !passed {
		return false, nil
	}
	if r.round.mark.Subject == bus.Accepted {
		mark, err := r.bus.Mark(ctx, bus.Filtered)
		if err != nil {
			return false, fmt.Errorf("mark %s: %w", bus.Filtered, err)
		}
		r.round.mark = mark
		return true, nil
	}
	err = r.publish(ctx, r.round.candidates)
	if err == nil {
		// Whatever became of them, the next look begins at the checkpoint again.
		r.round = nil
	}
	return false, err
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
		found = append(found, candidate{id: f.ID, blob: f.BlobID, tail: tail, released: true})
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

// errNoRecipient is a frame that names nobody: no router can do anything with it.
var errNoRecipient = errors.New("the frame's tail names no recipient")

// settledByTail tells whether the verdict in a tail has settled the message: it was refused, or discarded on record.
func settledByTail(v *mailv1.Verdict) bool {
	return v.GetAction() == mailv1.Action_ACTION_REJECT || v.GetAction() == mailv1.Action_ACTION_DISCARD
}

// scanBatch is how many frames are looked up at once.
const scanBatch = 256

// errEnough ends a scan whose rest must wait.
var errEnough = errors.New("enough for now")

// scanner is one look at all incarnations.
type scanner struct {
	*recovery
	candidates []candidate
	batch      []blob.Scanned // accepted frames not yet looked up
	// open is the place of the incarnation's first frame that is not accounted for.
	open *blob.Position
}

func (s *scanner) scanAll(ctx context.Context) error {
	incarnations, err := s.blobs.Incarnations(ctx)
	if err != nil {
		return fmt.Errorf("list incarnations: %w", err)
	}
	checkpoints, err := s.ledger.Checkpoints(ctx)
	if err != nil {
		return err
	}
	for _, inc := range incarnations {
		c := checkpoints[inc.ID]
		if c.Done {
			continue
		}
		c.Incarnation = inc.ID
		if err := s.scan(ctx, inc, c); err != nil {
			return fmt.Errorf("scan incarnation %d: %w", inc.ID, err)
		}
		if len(s.candidates) >= s.cfg.RecoverBatch {
			return nil
		}
	}
	return nil
}

// scan reads an incarnation from its checkpoint on and moves that forward.
func (s *scanner) scan(ctx context.Context, inc blob.Incarnation, from ledger.Checkpoint) error {
	s.batch, s.open = s.batch[:0], nil
	at, err := s.blobs.Scan(ctx, from.Position, func(f blob.Scanned) error {
		if f.Err != nil {
			// Nobody can publish it. The auditor goes on telling of it; those behind it must not wait for ever.
			s.log.ErrorContext(ctx, "damaged frame", slog.String("blob", f.ID.String()), obs.Error(f.Err))
			return nil
		}
		if f.Meta.Kind != blob.Accepted {
			return nil
		}
		if s.batch = append(s.batch, f); len(s.batch) < scanBatch {
			return nil
		}
		return s.account(ctx)
	})
	if err == nil {
		err = s.account(ctx)
	}
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	to := ledger.Checkpoint{Position: at, Done: !inc.Live && err == nil && s.open == nil}
	to.Incarnation = inc.ID
	if s.open != nil {
		to.Position = *s.open
	}
	if to == from {
		return nil
	}
	fault.Point("store.checkpoint-before")
	if err := s.ledger.SaveCheckpoint(ctx, to); err != nil {
		return err
	}
	fault.Point("store.checkpoint-after")
	return nil
}

// account looks up the frames of the batch. errEnough where what follows must wait.
func (s *scanner) account(ctx context.Context) error {
	frames := s.batch
	s.batch = s.batch[:0]
	if len(frames) == 0 {
		return nil
	}
	ids := make([][]byte, len(frames))
	for i := range frames {
		ids[i] = frames[i].Meta.QueueID[:]
	}
	known, err := s.ledger.Known(ctx, ids)
	if err != nil {
		return err
	}
	var unknown []blob.Scanned
	for i, f := range frames {
		if known[i].Found && string(known[i].BlobID) == string(f.ID.Bytes()) {
			continue
		}
		if known[i].Found {
			s.log.ErrorContext(ctx, "queue id is in the ledger with another frame", obs.QueueID(f.Meta.QueueID), slog.String("blob", f.ID.String()))
			continue // the auditor tells of it; publishing it would change nothing
		}
		unknown = append(unknown, f)
	}
	if len(unknown) == 0 {
		return nil
	}
	return s.accountUnknown(ctx, unknown)
}

func (s *scanner) accountUnknown(ctx context.Context, frames []blob.Scanned) error {
	ids := make([][]byte, len(frames))
	for i := range frames {
		ids[i] = frames[i].Meta.QueueID[:]
	}
	decisions, err := s.ledger.Decisions(ctx, ids)
	if err != nil {
		return err
	}
	waiting, err := s.ledger.Waiting(ctx, ids)
	if err != nil {
		return err
	}
	var old []ledger.Withheld
	stop := error(nil)
	for i, f := range frames {
		if decisions[i] != ledger.NotWithheld || waiting[i] {
			continue
		}
		tail, err := decodeTail(f.Meta.Tail)
		if err == nil && len(tail.GetEnvelope().GetRecipients()) == 0 {
			err = errNoRecipient
		}
		switch {
		case err != nil:
			s.log.ErrorContext(ctx, "message withheld: it cannot be routed", obs.QueueID(f.Meta.QueueID), obs.Error(err))
			old = append(old, ledger.Withheld{ID: f.Meta.QueueID, BlobID: f.ID})
			continue
		case settledByTail(tail.Verdict):
			continue
		}
		age := s.now().Sub(writtenAt(f, tail))
		switch {
		case age > s.cfg.RecoverHorizon:
			s.log.ErrorContext(ctx, "message withheld: it is beyond the horizon and waits for release", obs.QueueID(f.Meta.QueueID),
				slog.Duration("age", age))
			old = append(old, ledger.Withheld{ID: f.Meta.QueueID, BlobID: f.ID})
			continue
		case age < s.cfg.RecoverAfter:
			stop = errEnough // all that follows is younger, or as good as
		case len(s.candidates) >= s.cfg.RecoverBatch:
			stop = errEnough
		default:
			s.candidates = append(s.candidates, candidate{id: f.Meta.QueueID, blob: f.ID, tail: tail})
		}
		if s.open == nil {
			s.open = &blob.Position{Incarnation: f.ID.Incarnation, Segment: f.ID.Segment, Offset: f.ID.Offset}
		}
		if stop != nil {
			break
		}
	}
	if len(old) > 0 {
		if err := s.ledger.Withhold(ctx, old); err != nil {
			return err
		}
		s.metrics.withheld.Add(float64(len(old)))
	}
	return stop
}

// writtenAt is when a frame was written: its segment may have been begun long before.
func writtenAt(f blob.Scanned, tail *mailv1.FrameTail) time.Time {
	if accepted := time.Unix(0, tail.GetEnvelope().GetAcceptedNs()); accepted.After(f.Written) {
		return accepted
	}
	return f.Written
}
