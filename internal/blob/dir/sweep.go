package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// Sweep removes bodies apart of dead incarnations that no frame refers to, and returns how many: what a crash left
// between a body and its frame. An incarnation is looked through once in its afterlife. One that is damaged is left
// alone: the frame that refers to a body may be what is damaged.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	removed := 0
	for _, inc := range s.dead {
		n, err := s.sweep(ctx, inc)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("sweep incarnation %d: %w", inc.id, err)
		}
	}
	return removed, nil
}

var errDamaged = errors.New("damaged")

func (s *Store) sweep(ctx context.Context, inc *incarnation) (int, error) {
	mark := filepath.Join(s.incarnationPath(inc.id), sweptName)
	if f, err := s.fs.Open(mark); err == nil {
		return 0, f.Close()
	}
	names, err := s.fs.List(s.bodiesPath(inc.id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	removed := 0
	if len(names) > 0 {
		used, err := s.bodiesInUse(ctx, inc)
		if errors.Is(err, errDamaged) {
			s.opt.Log.Warn("damaged incarnation not swept", obs.Path(s.incarnationPath(inc.id)))
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		for _, name := range names {
			if n, ok := number(name, 64, bodyName); !ok || used[n] {
				continue
			}
			if err := s.fs.Remove(filepath.Join(s.bodiesPath(inc.id), name)); err != nil {
				return removed, err
			}
			removed++
		}
	}
	// What was removed must not come back beside the mark; where the mark is lost, the next sweep looks again.
	if err := s.fs.SyncDir(s.bodiesPath(inc.id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return removed, err
	}
	f, err := s.fs.Create(mark)
	if err != nil {
		return removed, err
	}
	return removed, f.Close()
}

func (s *Store) bodiesInUse(ctx context.Context, inc *incarnation) (map[uint64]bool, error) {
	used := map[uint64]bool{}
	_, err := s.walk(ctx, inc, end{}, inc.end, func(_ frame.SegmentHeader, m *met) error {
		switch {
		case m.err != nil:
			return errDamaged
		case m.header.Place == frame.Apart && m.header.Apart.Incarnation == inc.id:
			used[m.header.Apart.Number] = true
		}
		return nil
	})
	return used, err
}
