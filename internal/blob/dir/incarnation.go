package dir

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/fault"
)

// incarnation is one writer's life, this process's or a dead one's.
type incarnation struct {
	id      uint64
	started time.Time
	salt    uint64
	// end is a dead one's; it never changes.
	end end
}

// load finds the dead incarnations, settles those that have no end yet, and chooses this process's number.
func (s *Store) load(ctx context.Context) error {
	names, err := s.fs.List(s.root)
	if err != nil {
		return err
	}
	last := uint64(0)
	for _, name := range names {
		id, ok := number(name, 64, incarnationName)
		if !ok {
			continue
		}
		last = max(last, id)
		if err := ctx.Err(); err != nil {
			return err
		}
		inc, err := s.loadDead(ctx, id)
		if err != nil {
			return fmt.Errorf("incarnation %d: %w", id, err)
		}
		if inc != nil {
			s.dead = append(s.dead, inc)
			s.byID[id] = inc
		}
	}
	slices.SortFunc(s.dead, func(a, b *incarnation) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	var salt [8]byte
	rand.Read(salt[:])
	// Numbers are never used again, even if the folder was removed or an older copy was put back: what the index and the
	// ledger say of an earlier incarnation must not lead to a frame of this one. So they follow the clock, too.
	started := s.opt.Now()
	s.self = &incarnation{id: max(last+1, uint64(max(started.Unix(), 0))), started: started, salt: binary.BigEndian.Uint64(salt[:])}
	s.byID[s.self.id] = s.self
	return nil
}

// loadDead returns nil for an incarnation that never came to write.
func (s *Store) loadDead(ctx context.Context, id uint64) (*incarnation, error) {
	inc := &incarnation{id: id}
	var err error
	inc.started, inc.salt, err = s.readStarted(id)
	if err != nil && !isUnwritten(err) {
		return nil, err
	}
	whole := err == nil
	if inc.end, err = s.readEnd(id); err == nil {
		return inc, nil
	} else if !isUnwritten(err) {
		return nil, err
	}
	segments, err := s.segments(id)
	if err != nil {
		return nil, err
	}
	if len(segments) == 0 && !whole {
		return nil, nil
	}
	if len(segments) > 0 && !whole {
		// The record rotted: segments tell the same.
		h, err := s.segmentHeader(id, segments[0])
		if err == nil {
			inc.started, inc.salt = h.Started, h.Salt
		} else if !isUnsound(err) {
			return nil, err
		}
	}
	var flushed bool
	if inc.end, flushed, err = s.settle(ctx, inc, segments); err != nil {
		return nil, err
	}
	if !flushed {
		return inc, nil
	}
	if err := s.writeEnd(id, inc.end); err != nil {
		// A full or failing disk: the end is known as long as this process lives, the next finds it again.
		s.logUnsettled(id, err)
	}
	return inc, nil
}

// isUnwritten tells whether a record is missing or not whole, as a crash may leave it.
func isUnwritten(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, blob.ErrCorrupt)
}

// isUnsound tells whether octets are no header, or a damaged one.
func isUnsound(err error) bool {
	return errors.Is(err, frame.ErrAbsent) || errors.Is(err, blob.ErrCorrupt)
}

// segments lists the numbers of an incarnation's segments, ascending.
func (s *Store) segments(id uint64) ([]uint32, error) {
	names, err := s.fs.List(s.incarnationPath(id))
	if err != nil {
		return nil, err
	}
	var segments []uint32
	for _, name := range names {
		if n, ok := number(name, 32, segmentName); ok {
			segments = append(segments, n)
		}
	}
	slices.Sort(segments)
	return segments, nil
}

// ensureBegun puts this process's incarnation on disk, once. After an error it can be called again.
func (s *Store) ensureBegun() error {
	if s.begun.Load() {
		return nil
	}
	s.begin.Lock()
	defer s.begin.Unlock()
	if s.begun.Load() {
		return nil
	}
	for _, path := range []string{s.incarnationPath(s.self.id), s.bodiesPath(s.self.id)} {
		if err := s.fs.Mkdir(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := s.writeStarted(s.self); err != nil {
		return err
	}
	if err := s.fs.SyncDir(s.root); err != nil {
		return err
	}
	fault.Point("blob.incarnation-begun")
	s.begun.Store(true)
	return nil
}

// createFresh makes a file anew; what an earlier attempt left under its name goes.
func (s *Store) createFresh(path string) (vfs.File, error) {
	f, err := s.fs.Create(path)
	if errors.Is(err, fs.ErrExist) {
		if err := s.fs.Remove(path); err != nil {
			return nil, err
		}
		f, err = s.fs.Create(path)
	}
	return f, err
}

// Incarnations lists all that ever came to write, and this process's once it is on disk.
func (s *Store) Incarnations(ctx context.Context) ([]blob.Incarnation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all := make([]blob.Incarnation, 0, len(s.dead)+1)
	for _, inc := range s.dead {
		all = append(all, blob.Incarnation{ID: inc.id, Started: inc.started})
	}
	if s.begun.Load() {
		all = append(all, blob.Incarnation{ID: s.self.id, Started: s.self.started, Live: true})
	}
	return all, nil
}
