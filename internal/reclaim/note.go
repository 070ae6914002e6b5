package reclaim

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// Notes gathers what a scan must leave in the Books: which frames share a body, and which have theirs apart.
type Notes struct {
	shares []Share
	aparts []Apart
}

// notesMax is how many notes are written at once.
const notesMax = 1024

// Add takes a frame that a scan met. Whose body a moved frame shares was noted at its first place.
func (n *Notes) Add(f blob.Scanned) {
	if f.Err != nil {
		return
	}
	if !f.Owner.IsZero() && f.Origin.IsZero() {
		n.shares = append(n.shares, Share{Owner: f.Owner, Child: f.ID})
	}
	if f.Apart > 0 {
		n.aparts = append(n.aparts, Apart{Place: f.ID, Bytes: f.Apart})
	}
}

// Full tells that it is time to write.
func (n *Notes) Full() bool { return len(n.shares)+len(n.aparts) >= notesMax }

// Write writes what was gathered. It must come before the checkpoint passes the frames.
func (n *Notes) Write(ctx context.Context, b Books) error {
	if len(n.shares)+len(n.aparts) == 0 {
		return nil
	}
	if err := b.Note(ctx, n.shares, n.aparts); err != nil {
		return err
	}
	n.shares, n.aparts = n.shares[:0], n.aparts[:0]
	return nil
}

// closeGap notes the frames of one incarnation that recovery passed before it took notes.
func (w *Worker) closeGap(ctx context.Context) (bool, error) {
	gaps, err := w.deps.Books.Gaps(ctx)
	if err != nil || len(gaps) == 0 {
		return false, err
	}
	known, err := w.incarnations(ctx)
	if err != nil {
		return false, err
	}
	var notes Notes
	if _, there := known[gaps[0]]; there {
		_, err = w.deps.Blobs.Scan(ctx, blob.Position{Incarnation: gaps[0]}, func(f blob.Scanned) error {
			if notes.Add(f); notes.Full() {
				return notes.Write(ctx, w.deps.Books)
			}
			return nil
		})
		if err == nil {
			err = notes.Write(ctx, w.deps.Books)
		}
		if err != nil {
			return false, fmt.Errorf("note the frames of incarnation %d: %w", gaps[0], err)
		}
	}
	if err := w.point("reclaim.before-gap-closed"); err != nil {
		return false, err
	}
	return true, w.deps.Books.CloseGap(ctx, gaps[0])
}

func (w *Worker) incarnations(ctx context.Context) (map[uint64]blob.Incarnation, error) {
	list, err := w.deps.Blobs.Incarnations(ctx)
	if err != nil {
		return nil, fmt.Errorf("list incarnations: %w", err)
	}
	known := make(map[uint64]blob.Incarnation, len(list))
	for _, inc := range list {
		known[inc.ID] = inc
	}
	return known, nil
}
