package s3

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// Sweep removes what dead incarnations left that nobody can reach, and returns how many objects and unfinished uploads that
// were: bodies apart that no frame refers to, uploads that were not ended, segments behind the end. An incarnation is
// looked through once in its afterlife. One that is damaged keeps its bodies: the frame that refers to one may be what is
// damaged.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	if err := s.check(ctx); err != nil {
		return 0, err
	}
	if err := s.roster.refresh(ctx); err != nil {
		return 0, fmt.Errorf("list incarnations: %w", err)
	}
	removed := 0
	for _, inc := range s.roster.snapshot() {
		if !inc.ended || inc.swept {
			continue
		}
		n, err := s.sweep(ctx, inc.id)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("sweep incarnation %d: %w", inc.id, err)
		}
	}
	return removed, nil
}

var errDamaged = errors.New("damaged")

func (s *Store) sweep(ctx context.Context, id uint64) (removed int, err error) {
	mark := claimKey(id) + sweptSuffix
	if _, err := s.bucket.stat(ctx, mark); err == nil { // by another process
		s.roster.change(id, func(inc *incarnation) { inc.swept = true })
		return 0, nil
	} else if !errors.Is(err, errMissing) {
		return 0, err
	}
	inc, err := s.lookUp(ctx, id)
	if err != nil {
		return 0, err
	}
	removed, err = s.sweepSegments(ctx, inc)
	if err != nil {
		return removed, err
	}
	n, err := s.sweepUploads(ctx, id)
	removed += n
	if err != nil {
		return removed, err
	}
	n, err = s.sweepBodies(ctx, inc)
	removed += n
	if errors.Is(err, errDamaged) {
		s.opt.Log.WarnContext(ctx, "damaged incarnation not swept", obs.Path(claimKey(id)))
		return removed, nil
	}
	if err != nil {
		return removed, err
	}
	if err := s.bucket.put(ctx, mark, record(sweptMagic, 0, 0, 0)); err != nil {
		return removed, err
	}
	s.roster.change(id, func(inc *incarnation) { inc.swept = true })
	return removed, nil
}

// sweepSegments removes segments behind the end and its seal, which stays.
func (s *Store) sweepSegments(ctx context.Context, inc incarnation) (int, error) {
	return s.removeListed(ctx, segmentsKey(inc.id), segmentKey(inc.id, inc.count), func(uint64) bool { return true })
}

func (s *Store) sweepUploads(ctx context.Context, id uint64) (int, error) {
	all, err := s.bucket.uploads(ctx, bodiesKey(id))
	if err != nil {
		return 0, err
	}
	for i, u := range all {
		if err := s.bucket.abortParts(ctx, u.key, u.id); err != nil {
			return i, err
		}
	}
	return len(all), nil
}

func (s *Store) sweepBodies(ctx context.Context, inc incarnation) (int, error) {
	some := errors.New("some")
	err := s.bucket.list(ctx, bodiesKey(inc.id), "", func(listed) error { return some })
	if !errors.Is(err, some) {
		return 0, err
	}
	used, err := s.bodiesInUse(ctx, inc)
	if err != nil {
		return 0, err
	}
	return s.removeListed(ctx, bodiesKey(inc.id), "", func(n uint64) bool { return !used[n] })
}

// removeListed removes the objects of a folder behind a key whose number which accepts.
func (s *Store) removeListed(ctx context.Context, folder, after string, which func(uint64) bool) (int, error) {
	var keys []string
	err := s.bucket.list(ctx, folder, after, func(o listed) error {
		if n, ok := numberOf(o.key); ok && which(n) {
			keys = append(keys, o.key)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for i, key := range keys {
		if err := s.bucket.remove(ctx, key); err != nil {
			return i, err
		}
	}
	return len(keys), nil
}

// bodiesInUse are the bodies apart that frames of their incarnation refer to.
func (s *Store) bodiesInUse(ctx context.Context, inc incarnation) (map[uint64]bool, error) {
	used := map[uint64]bool{}
	for n := range inc.count {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		data, err := s.segment(ctx, inc.id, n)
		if errors.Is(err, errMissing) {
			continue // removed, and the bodies of its frames before it
		}
		if err != nil {
			return nil, fmt.Errorf("segment %d: %w", n, err)
		}
		for w := (&walker{inc: &inc, segment: n, data: data, off: firstOffset}); w.off < int64(len(data)); {
			m := w.step()
			if errors.Is(m.err, blob.ErrCorrupt) {
				return nil, errDamaged
			}
			if m.header.Place == frame.Apart && m.header.Apart.Incarnation == inc.id {
				used[m.header.Apart.Number] = true
			}
		}
	}
	return used, nil
}
