package dir

import (
	"errors"
	"syscall"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// isNoRoom tells whether the disk or the owner's quota of it is full.
func isNoRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// noRoomError is blob.ErrFull with its cause.
type noRoomError struct{ cause error }

func (e *noRoomError) Error() string   { return blob.ErrFull.Error() + ": " + e.cause.Error() }
func (e *noRoomError) Unwrap() []error { return []error{blob.ErrFull, e.cause} }

// full makes an error blob.ErrFull if it comes from a lack of room; only for errors after which nothing is kept.
func full(err error) error {
	if isNoRoom(err) {
		return &noRoomError{cause: err}
	}
	return err
}

// logNoRoom tells once that room ran out; logRoom, once, that there is some again. In between every commit fails alike.
func (s *Store) logNoRoom(err error) {
	if s.noRoom.CompareAndSwap(false, true) {
		s.opt.Log.Error("blob store ran out of room", obs.Path(s.root), obs.Error(err))
	}
}

func (s *Store) logRoom() {
	if s.noRoom.CompareAndSwap(true, false) {
		s.opt.Log.Info("blob store has room again", obs.Path(s.root))
	}
}

func (s *Store) logUnsettled(incarnation uint64, err error) {
	s.opt.Log.Warn("end of incarnation not noted", obs.Path(s.incarnationPath(incarnation)), obs.Error(err))
}
