package s3

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// incarnation is what this process knows of a writer's life, its own ones included.
type incarnation struct {
	id      uint64
	started time.Time // by the server's clock
	ended   bool
	swept   bool

	sign string    // the heartbeat seen last
	seen time.Time // when it was seen first, by this process's monotonic clock

	salted bool // salt was read
	salt   uint64
	count  uint32 // of segments, once counted
	known  bool   // count was read
}

// roster is the list of incarnations. Those that are dead are not listed again: a listing begins behind the oldest living
// one of the listing before the last. One listing may miss a claim with a lower number than another that it shows, if both
// were made while it ran; the next one shows it (see keeper.claim).
type roster struct {
	s *Store

	listing sync.Mutex // held while the bucket is listed

	mu    sync.Mutex // guards what follows
	all   map[uint64]*incarnation
	ids   []uint64  // ascending
	after [2]uint64 // where the next listing begins, and the one behind it
}

func (r *roster) init(s *Store) {
	r.s = s
	r.all = map[uint64]*incarnation{}
}

// refresh lists the bucket.
func (r *roster) refresh(ctx context.Context) error {
	r.listing.Lock()
	defer r.listing.Unlock()
	after := ""
	if r.after[0] > 0 {
		after = claimKey(r.after[0]) + "~"
	}
	now := time.Now()
	found := map[uint64]*incarnation{}
	err := r.s.bucket.retry(ctx, func(ctx context.Context) error {
		clear(found)
		return r.s.bucket.list(ctx, "inc/", after, func(o listed) error {
			name, suffix, _ := strings.Cut(o.key, ".")
			id, ok := numberOf(name)
			if !ok {
				return nil
			}
			inc := found[id]
			if inc == nil {
				inc = &incarnation{id: id}
				found[id] = inc
			}
			switch "." + suffix {
			case ".":
				inc.started = o.changed
			case beatSuffix:
				inc.sign = o.tag + o.changed.String()
			case endSuffix:
				inc.ended = true
			case sweptSuffix:
				inc.swept = true
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, f := range found {
		if f.started.IsZero() && r.all[id] == nil {
			continue // its claim was given up, or is being removed
		}
		r.note(id, f, now)
	}
	r.settle(found)
	return nil
}

// note takes over what a listing showed. Called with mu held.
func (r *roster) note(id uint64, f *incarnation, now time.Time) {
	inc := r.all[id]
	if inc == nil {
		f.seen = now
		r.all[id] = f
		at, _ := slices.BinarySearch(r.ids, id)
		r.ids = slices.Insert(r.ids, at, id)
		return
	}
	inc.ended = inc.ended || f.ended
	inc.swept = inc.swept || f.swept
	if f.sign != inc.sign {
		inc.sign, inc.seen = f.sign, now
	}
}

// settle forgets claims that were given up and moves on where the next listing begins. Called with mu held.
func (r *roster) settle(found map[uint64]*incarnation) {
	r.ids = slices.DeleteFunc(r.ids, func(id uint64) bool {
		gone := id > r.after[0] && found[id] == nil
		if gone {
			delete(r.all, id)
		}
		return gone
	})
	r.after[0] = r.after[1]
	for _, id := range r.ids {
		if !r.all[id].ended {
			break
		}
		r.after[1] = max(r.after[1], id)
	}
}

// last is the highest number known.
func (r *roster) last() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ids) == 0 {
		return 0
	}
	return r.ids[len(r.ids)-1]
}

// get returns a copy of what is known of an incarnation.
func (r *roster) get(id uint64) (incarnation, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	inc := r.all[id]
	if inc == nil {
		return incarnation{}, false
	}
	return *inc, true
}

// change changes what is known of an incarnation.
func (r *roster) change(id uint64, how func(*incarnation)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if inc := r.all[id]; inc != nil {
		how(inc)
	}
}

// snapshot returns copies of all that is known, oldest first.
func (r *roster) snapshot() []incarnation {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]incarnation, 0, len(r.ids))
	for _, id := range r.ids {
		all = append(all, *r.all[id])
	}
	return all
}

// Incarnations lists all writers. One that gave no sign of life for Config.DeadAfter, as seen by earlier calls, is sealed
// first: see the package's comment.
func (s *Store) Incarnations(ctx context.Context) ([]blob.Incarnation, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if err := s.roster.refresh(ctx); err != nil {
		return nil, fmt.Errorf("list incarnations: %w", err)
	}
	var all []blob.Incarnation
	for _, inc := range s.roster.snapshot() {
		if !inc.ended && !s.keeper.isOwn(inc.id) && time.Since(inc.seen) >= s.cfg.DeadAfter {
			if err := s.bury(ctx, inc.id); err != nil {
				s.opt.Log.WarnContext(ctx, "silent incarnation not sealed", obs.Path(claimKey(inc.id)), obs.Error(err))
			} else {
				inc.ended = true
			}
		}
		all = append(all, blob.Incarnation{ID: inc.id, Live: !inc.ended, Started: inc.started})
	}
	return all, nil
}

// errLives is an incarnation whose writer moved on while it was being sealed.
var errLives = errors.New("its writer lives")

// bury makes an incarnation dead: whatever its writer does, no frame is added to it from here on.
func (s *Store) bury(ctx context.Context, id uint64) error {
	count, err := s.seal(ctx, id)
	if errors.Is(err, errLives) {
		s.roster.change(id, func(inc *incarnation) { inc.seen = time.Now() })
	}
	if err != nil {
		return fmt.Errorf("seal incarnation %d: %w", id, err)
	}
	fault.Point("s3.sealed")
	return s.end(ctx, id, count)
}

// end notes how many segments an incarnation has. What was noted first stays; everybody comes to note the same.
func (s *Store) end(ctx context.Context, id uint64, count uint32) error {
	err := s.bucket.create(ctx, claimKey(id)+endSuffix, contentOf(record(endMagic, uint64(count), 0, 0)))
	if errors.Is(err, errExists) {
		count, err = s.countOf(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("note the end of incarnation %d: %w", id, err)
	}
	fault.Point("s3.ended")
	s.roster.change(id, func(inc *incarnation) { inc.ended, inc.known, inc.count = true, true, count })
	if err := s.bucket.remove(ctx, claimKey(id)+beatSuffix); err != nil {
		// It says nothing any more beside the end.
		s.opt.Log.WarnContext(ctx, "heartbeat of a dead incarnation not removed", obs.Error(err))
	}
	return nil
}

// seal puts a seal where the first segment is missing, unless there is one, and returns the number of segments before it.
// Segments that the last heartbeat calls durable are not asked for: they may have been removed since.
func (s *Store) seal(ctx context.Context, id uint64) (uint32, error) {
	durable, err := s.durableBy(ctx, id)
	if err != nil {
		return 0, err
	}
	if durable == 0 {
		// Where there is no heartbeat any more, there is an end.
		if count, err := s.countOf(ctx, id); err == nil || !errors.Is(err, errMissing) {
			return count, err
		}
	}
	stored, err := s.storedFrom(ctx, id, durable)
	if err != nil {
		return 0, err
	}
	at := durable
	mark := contentOf(record(sealMagic, id, 0, 0))
	for ; ; at++ {
		if stored[at] {
			continue
		}
		err := s.bucket.create(ctx, segmentKey(id, at), mark)
		if err == nil { // also where another process was first: one seal is like another
			break
		}
		if !errors.Is(err, errExists) {
			return 0, err
		}
	}
	if now, err := s.durableBy(ctx, id); err != nil {
		return 0, err
	} else if now > at {
		// This took so long that the segment was written, and removed again.
		return 0, errors.Join(errLives, s.bucket.remove(ctx, segmentKey(id, at)))
	}
	return at, nil
}

// storedFrom lists the segments that are there, from a number on.
func (s *Store) storedFrom(ctx context.Context, id uint64, from uint32) (map[uint32]bool, error) {
	after := ""
	if from > 0 {
		after = segmentKey(id, from-1)
	}
	stored := map[uint32]bool{}
	err := s.bucket.retry(ctx, func(ctx context.Context) error {
		return s.bucket.list(ctx, segmentsKey(id), after, func(o listed) error {
			if n, ok := numberOf(o.key); ok && o.size != recordLen {
				stored[uint32(n)] = true
			}
			return nil
		})
	})
	return stored, err
}

// durableBy is how many segments an incarnation's last heartbeat calls durable.
func (s *Store) durableBy(ctx context.Context, id uint64) (uint32, error) {
	b, err := s.bucket.get(ctx, claimKey(id)+beatSuffix, 0, -1)
	if errors.Is(err, errMissing) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	_, durable, _, err := parseRecord(b[:min(recordLen, len(b))], beatMagic)
	return uint32(durable), err
}

// lookUp finds an incarnation with its salt, and its end if it has one. blob.ErrNotFound.
func (s *Store) lookUp(ctx context.Context, id uint64) (incarnation, error) {
	inc, ok := s.roster.get(id)
	if ok && inc.salted && (!inc.ended || inc.known) {
		return inc, nil
	}
	if !inc.salted {
		b, err := s.bucket.get(ctx, claimKey(id), 0, -1)
		if errors.Is(err, errMissing) {
			return incarnation{}, blob.ErrNotFound
		}
		if err != nil {
			return incarnation{}, err
		}
		salt, ns, _, err := parseRecord(b, claimMagic)
		if err != nil {
			s.opt.Log.ErrorContext(ctx, "claim of an incarnation is damaged", obs.Path(claimKey(id)), obs.Error(err))
		}
		inc.id, inc.salt, inc.salted = id, salt, true
		if inc.started.IsZero() {
			inc.started = time.Unix(0, int64(ns))
		}
	}
	if !ok || inc.ended {
		count, err := s.countOf(ctx, id)
		if err != nil && !errors.Is(err, errMissing) {
			return incarnation{}, err
		}
		if err == nil {
			inc.ended, inc.known, inc.count = true, true, count
		}
	}
	s.roster.change(id, func(to *incarnation) {
		to.salt, to.salted = inc.salt, true
		if inc.known {
			to.ended, to.known, to.count = true, true, inc.count
		}
	})
	return inc, nil
}

// countOf reads how many segments a dead incarnation has. errMissing where it is not dead.
func (s *Store) countOf(ctx context.Context, id uint64) (uint32, error) {
	b, err := s.bucket.get(ctx, claimKey(id)+endSuffix, 0, -1)
	if err != nil {
		return 0, err
	}
	count, _, _, err := parseRecord(b, endMagic)
	return uint32(count), err
}
