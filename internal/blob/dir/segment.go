package dir

import (
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// segment is a segment being written.
type segment struct {
	number uint32
	file   vfs.File
	end    int64 // all before is durable
	length int64 // the file's: frames up to end, then zeros
}

func (seg *segment) endsAt() end { return end{segment: seg.number, offset: uint32(seg.end)} }

// room makes w.seg a segment that takes a frame of n octets.
func (w *writer) room(n int64) error {
	if w.seg != nil && (w.seg.end+n <= w.s.opt.SegmentBytes || w.seg.end == firstOffset) {
		return nil
	}
	if err := w.s.ensureBegun(); err != nil {
		return err
	}
	seg, err := w.create(w.next)
	if err != nil {
		return err
	}
	if w.seg != nil {
		w.trim(w.seg)
	}
	w.seg = seg
	w.next++
	return nil
}

// create makes a segment and makes it durable, empty as it is. What an earlier attempt left under its number goes: no
// frame of it was answered.
func (w *writer) create(n uint32) (*segment, error) {
	s := w.s
	path := s.segmentPath(s.self.id, n)
	f, err := s.createFresh(path)
	if err != nil {
		return nil, err
	}
	s.files.forget(fileKey{incarnation: s.self.id, number: uint64(n)})
	header := frame.AppendSegmentHeader(nil, &frame.SegmentHeader{
		Incarnation: s.self.id,
		Segment:     n,
		Before:      unpack(s.durable.Load()).offset,
		Started:     s.opt.Now(),
		Salt:        s.self.salt,
	})
	err = f.WriteVec([][]byte{header}, 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.fs.SyncDir(s.incarnationPath(s.self.id))
	}
	if err != nil {
		f.Close()
		// Where this fails too, the next attempt removes it.
		_ = s.fs.Remove(path)
		return nil, err
	}
	fault.Point("blob.segment-begun")
	return &segment{number: n, file: f, end: firstOffset, length: firstOffset}, nil
}

// trim ends a segment that is written: the zeros behind its end are given back. Nothing depends on it.
func (w *writer) trim(seg *segment) {
	if seg.length > seg.end {
		if err := seg.file.Truncate(seg.end); err != nil {
			w.s.opt.Log.Warn("segment not trimmed", obs.Path(w.s.segmentPath(w.s.self.id, seg.number)), obs.Error(err))
		}
	}
	seg.file.Close()
}

// abandon gives up the segment after a failed write or flush, and tells whether it is certain that nothing of the batch
// is kept. The segment keeps what was durable before; one without frames goes, and its number is used again.
//
// What is flushed here is the new length, not the lost octets. Where it cannot be, the next segment's header still says
// where this one ends.
func (w *writer) abandon(cause error) (gone bool) {
	s, seg := w.s, w.seg
	w.seg = nil
	s.metrics.abandoned.Inc()
	path := s.segmentPath(s.self.id, seg.number)
	if isNoRoom(cause) {
		s.logNoRoom(cause)
	} else {
		s.opt.Log.Error("segment abandoned", obs.Path(path), obs.Error(cause))
	}
	err := seg.file.Truncate(seg.end)
	if err == nil {
		err = seg.file.Sync()
	}
	seg.file.Close()
	if err != nil {
		s.opt.Log.Error("abandoned segment not cut back", obs.Path(path), obs.Error(err))
	}
	if seg.end == firstOffset {
		w.next = seg.number
		// Where it stays, create removes it.
		_ = s.fs.Remove(path)
	}
	return err == nil
}

// close ends the last segment.
func (w *writer) close() error {
	if w.seg != nil {
		w.trim(w.seg)
		w.seg = nil
	}
	return nil
}
