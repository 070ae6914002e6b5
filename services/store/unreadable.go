package store

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// unreadable is what keeps one incarnation, or one frame, from being read, while others may well be.
type unreadable struct{ cause error }

func (u *unreadable) Error() string { return u.cause.Error() }
func (u *unreadable) Unwrap() error { return u.cause }

func isUnreadable(err error) bool {
	var u *unreadable
	return errors.As(err, &u)
}

// scanBlobs is Scan whose own errors are unreadable, unlike those of each and of ctx.
func scanBlobs(ctx context.Context, s blob.Store, from blob.Position, each func(blob.Scanned) error) (blob.Position, error) {
	var stopped error
	at, err := s.Scan(ctx, from, func(f blob.Scanned) error {
		stopped = each(f)
		return stopped
	})
	if err != nil && stopped == nil && ctx.Err() == nil {
		err = &unreadable{cause: err}
	}
	return at, err
}

const (
	// unreadableAgain is when an incarnation that could not be read is tried again: each try may take the store's patience.
	unreadableAgain = 5 * time.Second
	// maxUnreadable is how many one look tries in vain before it ends.
	maxUnreadable = 4
)

// inOrder leaves out incarnations that could not be read a moment ago, and puts the others that could not behind the rest:
// none of them keeps the rest from being looked at.
func (r *recovery) inOrder(all []blob.Incarnation) []blob.Incarnation {
	maps.DeleteFunc(r.unreadable, func(id uint64, _ time.Time) bool {
		return !slices.ContainsFunc(all, func(inc blob.Incarnation) bool { return inc.ID == id })
	})
	r.metrics.unreadable.Set(float64(len(r.unreadable)))
	now := r.now()
	all = slices.DeleteFunc(slices.Clone(all), func(inc blob.Incarnation) bool {
		failed, ok := r.unreadable[inc.ID]
		return ok && now.Sub(failed) < unreadableAgain && !now.Before(failed)
	})
	slices.SortStableFunc(all, func(a, b blob.Incarnation) int { return r.unreadable[a.ID].Compare(r.unreadable[b.ID]) })
	return all
}

// noteRead notes whether an incarnation could be read: said once when it cannot, and once when it can again.
func (r *recovery) noteRead(ctx context.Context, id uint64, err error) {
	_, was := r.unreadable[id]
	switch {
	case err == nil && was:
		delete(r.unreadable, id)
		r.log.InfoContext(ctx, "incarnation can be read again", slog.Uint64("incarnation", id))
	case err != nil:
		if !was {
			r.log.ErrorContext(ctx, "recovery cannot read on in an incarnation", slog.Uint64("incarnation", id), obs.Error(err))
		}
		r.unreadable[id] = r.now()
	}
	r.metrics.unreadable.Set(float64(len(r.unreadable)))
}

// maxTails bounds the octets of frames' tails that are held at once: one tail may have more than 1 MiB.
const maxTails = 8 << 20

// partIndexField is the number of FrameTail.part_index.
const partIndexField = 4

// withoutPartIndex takes the part index from an encoded tail: it is most of what is large. What cannot be read stays as it is.
func withoutPartIndex(tail []byte) []byte {
	var out []byte
	for rest := tail; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return tail
		}
		m := protowire.ConsumeFieldValue(number, kind, rest[n:])
		if m < 0 {
			return tail
		}
		if number != partIndexField {
			out = append(out, rest[:n+m]...)
		}
		rest = rest[n+m:]
	}
	return out
}
