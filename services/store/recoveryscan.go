package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reclaim"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

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
	octets     int            // of their tails
	live       bool           // the incarnation's writer lives
	met        bool           // any frame behind the checkpoints
	// open is the place of the incarnation's first frame that is not accounted for.
	open *blob.Position
	// notes are of frames that the checkpoint has not passed.
	notes reclaim.Notes
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
	failed := 0
	for _, inc := range s.inOrder(incarnations) {
		c := checkpoints[inc.ID]
		if c.Done {
			continue
		}
		c.Incarnation = inc.ID
		err := s.scan(ctx, inc, c)
		if err != nil && !isUnreadable(err) {
			return fmt.Errorf("scan incarnation %d: %w", inc.ID, err)
		}
		if s.noteRead(ctx, inc.ID, err); err != nil {
			failed++
		}
		if len(s.candidates) >= s.cfg.RecoverBatch || failed == maxUnreadable {
			return nil
		}
	}
	return nil
}

// scan reads an incarnation from its checkpoint on and moves that forward, also where it cannot be read to the end.
func (s *scanner) scan(ctx context.Context, inc blob.Incarnation, from ledger.Checkpoint) error {
	s.batch, s.octets, s.open, s.live = s.batch[:0], 0, nil, inc.Live
	read := from.Position // behind the last frame that was met
	at, err := scanBlobs(ctx, s.blobs, from.Position, func(f blob.Scanned) error {
		read, s.met = placeBehind(f.ID), true
		if f.Err != nil {
			// Nobody can publish it. The auditor goes on telling of it; those behind it must not wait for ever.
			s.log.ErrorContext(ctx, "damaged frame", slog.String("blob", f.ID.String()), obs.Error(f.Err))
			return nil
		}
		s.notes.Add(f)
		if s.notes.Full() {
			if err := s.takeNotes(ctx); err != nil {
				return err
			}
		}
		// One that was moved here was accounted for at its first place.
		if f.Meta.Kind != blob.Accepted || !f.Origin.IsZero() {
			return nil
		}
		s.batch, s.octets = append(s.batch, f), s.octets+len(f.Meta.Tail)
		if len(s.batch) < scanBatch && s.octets < maxTails {
			return nil
		}
		return s.account(ctx)
	})
	unread := error(nil)
	if isUnreadable(err) {
		unread, at = err, read
	}
	if err == nil || unread != nil {
		if rest := s.account(ctx); rest != nil {
			err = rest
		}
	}
	if err != nil && err != unread && !errors.Is(err, errEnough) {
		return err
	}
	to := ledger.Checkpoint{Position: at, Done: !inc.Live && err == nil && s.open == nil}
	to.Incarnation = inc.ID
	if s.open != nil {
		to.Position = *s.open
	}
	if to == from {
		return unread
	}
	if err := s.takeNotes(ctx); err != nil {
		return err
	}
	fault.Point("store.checkpoint-before")
	if err := s.ledger.SaveCheckpoint(ctx, to); err != nil {
		return err
	}
	fault.Point("store.checkpoint-after")
	if to.Done {
		delete(s.ahead, inc.ID)
	}
	return unread
}

// takeNotes makes the notes durable, or forgets them where nobody wants any.
func (s *scanner) takeNotes(ctx context.Context) error {
	if s.books == nil {
		s.notes = reclaim.Notes{}
		return nil
	}
	return s.notes.Write(ctx, s.books)
}

// account looks up the frames of the batch. errEnough where what follows must wait.
func (s *scanner) account(ctx context.Context) error {
	frames := s.batch
	s.batch, s.octets = s.batch[:0], 0
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
		case s.live && s.isYoung(f.ID.Incarnation, age):
			stop = errEnough // all that follows is younger, or as good as
		case len(s.candidates) >= s.cfg.RecoverBatch:
			stop = errEnough
		default:
			s.candidates = append(s.candidates, candidate{id: f.Meta.QueueID, blob: f.ID, tail: slim(tail)})
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

// isYoung tells whether the publish of a living writer's frame may be under way. A frame dated ahead of our clock shows by
// how much the writer's clock is ahead at least; its age and that of others is counted by the writer's clock then.
func (s *scanner) isYoung(incarnation uint64, age time.Duration) bool {
	s.ahead[incarnation] = max(s.ahead[incarnation], -age)
	return age+s.ahead[incarnation] < s.cfg.RecoverAfter
}

// writtenAt is when a frame was written: its segment may have been begun long before.
func writtenAt(f blob.Scanned, tail *mailv1.FrameTail) time.Time {
	if accepted := time.Unix(0, tail.GetEnvelope().GetAcceptedNs()); accepted.After(f.Written) {
		return accepted
	}
	return f.Written
}
