package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// wantedFrame is a frame that must be there, and whose it is.
type wantedFrame struct {
	id blob.ID
	at int
}

func placeOf(id blob.ID) blob.Position {
	return blob.Position{Incarnation: id.Incarnation, Segment: id.Segment, Offset: id.Offset}
}

const (
	// minRun is how many frames must lie close together for one pass over all of them to cost less than opening each.
	minRun = 8
	// maxGap is how many segments may lie between two frames that are close, and maxStrange how many other frames one pass
	// may meet for each that is looked for.
	maxGap     = 2
	maxStrange = 16
)

// missing tells which frames are not to be had. Messages that came at one time lie in the same segments: these are gone
// through once, instead of asking the blob store for every frame.
func (r *audit) missing(ctx context.Context, wanted []wantedFrame) ([]wantedFrame, error) {
	slices.SortFunc(wanted, func(a, b wantedFrame) int { return slices.Compare(a.id.Bytes(), b.id.Bytes()) })
	var missing []wantedFrame
	for len(wanted) > 0 {
		n := 1
		for n < len(wanted) && wanted[n].id.Incarnation == wanted[0].id.Incarnation && wanted[n].id.Segment-wanted[n-1].id.Segment <= maxGap {
			n++
		}
		run := wanted[:n]
		wanted = wanted[n:]
		var err error
		if len(run) >= minRun {
			if run, err = r.unmet(ctx, run); err != nil {
				return nil, err
			}
		}
		for _, w := range run {
			there, err := r.there(ctx, w.id)
			if err != nil {
				return nil, err
			}
			if !there {
				missing = append(missing, w)
			}
		}
	}
	return missing, nil
}

// unmet goes through the segments of frames that lie close together and returns those that it has not met: these may lie
// elsewhere by now, or be gone.
func (r *audit) unmet(ctx context.Context, run []wantedFrame) ([]wantedFrame, error) {
	met, frames := make(map[blob.ID]bool, len(run)), 0
	last := placeOf(run[len(run)-1].id)
	_, err := scanBlobs(ctx, r.blobs, placeOf(run[0].id), func(f blob.Scanned) error {
		if frames++; last.Before(placeOf(f.ID)) || frames > maxStrange*len(run) {
			return errEnough
		}
		if f.Err == nil {
			met[f.ID] = true
		}
		return nil
	})
	switch {
	case err == nil, errors.Is(err, errEnough), errors.Is(err, blob.ErrNotFound):
	case isUnreadable(err):
		// Each of them alone would take the store's patience: none is called lost, and the audit does not succeed.
		return nil, r.passOver(fmt.Errorf("look for %d frames: %w", len(run), err))
	default:
		return nil, fmt.Errorf("look for %d frames: %w", len(run), err)
	}
	return slices.DeleteFunc(run, func(w wantedFrame) bool { return met[w.id] }), nil
}

// there opens a frame. One that cannot be read is not called lost: the audit does not succeed.
func (r *audit) there(ctx context.Context, id blob.ID) (bool, error) {
	f, err := r.blobs.Open(ctx, id)
	switch {
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCorrupt):
		return false, nil
	case err != nil && ctx.Err() == nil:
		return true, r.passOver(fmt.Errorf("open frame %v: %w", id, &unreadable{cause: err}))
	case err != nil:
		return false, fmt.Errorf("open frame %v: %w", id, err)
	}
	return true, f.Close()
}
