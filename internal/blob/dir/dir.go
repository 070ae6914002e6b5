// Package dir keeps blobs in a directory of one machine.
//
//	<dir>/lock                     held by the process that has the directory open
//	<dir>/<incarnation>/started    when it began, and its salt
//	<dir>/<incarnation>/<n>.seg    segments: frames one after another
//	<dir>/<incarnation>/body/<n>   bodies above the threshold, as they are
//	<dir>/<incarnation>/end        where its last segment ends, once it is dead
//	<dir>/<incarnation>/swept      there once its orphans were removed
//
// One goroutine writes: it gathers all frames that wait, writes them by one call and flushes once, then answers in order;
// an idle store waits for nothing. A write or flush that failed ends its segment, which is never written or flushed for
// data again: what the kernel makes of lost pages is no concern of ours. The next commit begins the next segment, whose
// header tells where the durable part of the one before ends.
//
// What is durable is told by what was flushed later (frame.Header.Durable, frame.SegmentHeader.Before, the end file), so
// that a frame torn by a power cut, which nobody was told of, is not taken for a damaged one, nor the reverse.
//
// It is assumed that writing behind durable octets of a disk sector does not destroy them ("powersafe overwrite", as
// SQLite assumes it).
package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// Options of a blob directory. The zero value of each means its default.
type Options struct {
	// SegmentBytes is how long a segment gets before the next is begun; one frame may be longer. At most 1 GiB. Default 64 MiB.
	SegmentBytes int64
	// Threshold is the largest body that lies in a segment, octets. Default blob.SpoolMemory.
	Threshold int
	// MaxBatchFrames is how many frames share one write and flush. Default 512.
	MaxBatchFrames int
	// MaxBatchBytes is how many octets they may have together, unless one alone has more. Default 8 MiB.
	MaxBatchBytes int64
	// ZeroAhead is how many zeros are written behind a batch that makes the segment longer, so that flushing the next
	// ones changes no file length: fdatasync is then about twice as fast on ext4. Default 256 KiB; negative for none.
	ZeroAhead int
	// MaxOpenFiles is how many files stay open for reading. Default 256.
	MaxOpenFiles int
	// FS is where the directory lies. Default the machine's.
	FS vfs.FS
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Log takes what degrades the store. Default slog.Default().
	Log *slog.Logger
	// Registerer takes the metrics. Default none.
	Registerer prometheus.Registerer
}

// maxSegmentBytes leaves room for the longest frame behind any offset: offsets have 32 bits.
const maxSegmentBytes = 1 << 30

func (o Options) withDefaults() (Options, error) {
	setDefault(&o.SegmentBytes, 64<<20)
	setDefault(&o.Threshold, blob.SpoolMemory)
	setDefault(&o.MaxBatchFrames, 512)
	setDefault(&o.MaxBatchBytes, 8<<20)
	setDefault(&o.ZeroAhead, 256<<10)
	setDefault(&o.MaxOpenFiles, 256)
	o.ZeroAhead = max(o.ZeroAhead, 0)
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	var faults []error
	if o.SegmentBytes < 0 || o.SegmentBytes > maxSegmentBytes {
		faults = append(faults, fmt.Errorf("segments of %d octets, at most %d", o.SegmentBytes, maxSegmentBytes))
	}
	if o.Threshold < 0 || o.Threshold > maxSegmentBytes {
		faults = append(faults, fmt.Errorf("threshold of %d octets, at most %d", o.Threshold, maxSegmentBytes))
	}
	if o.MaxBatchFrames < 0 || o.MaxBatchBytes < 0 || o.MaxOpenFiles < 0 {
		faults = append(faults, errors.New("a limit is negative"))
	}
	return o, errors.Join(faults...)
}

func setDefault[T int | int64](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// Store is a blob directory. It implements blob.Reclaimer.
type Store struct {
	root    string
	opt     Options
	fs      vfs.FS
	lock    io.Closer
	metrics *metrics
	files   *files
	pool    pool

	self  *incarnation   // the one that this process writes
	dead  []*incarnation // oldest first; fixed at Open
	byID  map[uint64]*incarnation
	begun atomic.Bool // self is on disk
	begin sync.Mutex  // held while self is put on disk

	// durable is where self ends: segment and offset, packed by pack.
	durable atomic.Uint64
	bodies  atomic.Uint64 // last number of a body apart
	noRoom  atomic.Bool   // told that room ran out
	moves   blob.Moves

	queue  chan *pending
	writer writer
	wrote  chan struct{} // closed when the writer has ended

	mu       sync.Mutex // guards closed, and inflight against Close
	closed   bool
	inflight sync.WaitGroup
}

var _ blob.Reclaimer = (*Store)(nil)

// Open takes the directory at path, which it makes where it is missing (its parent must exist), and begins a new
// incarnation. The process's earlier incarnations are dead: their ends are settled here, which reads the last segment
// of one that was not closed.
//
// blob.ErrLocked where another process has it. A full disk is no error: what is there can be read, and the incarnation
// begins once there is room. ctx bounds Open only.
func Open(ctx context.Context, path string, opt Options) (*Store, error) {
	s, err := open(ctx, path, opt)
	if err != nil {
		return nil, fmt.Errorf("open blob directory %s: %w", path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string, opt Options) (_ *Store, err error) {
	opt, err = opt.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{
		root:  path,
		opt:   opt,
		fs:    opt.FS,
		byID:  map[uint64]*incarnation{},
		queue: make(chan *pending, opt.MaxBatchFrames),
		wrote: make(chan struct{}),
	}
	s.files = newFiles(s.fs, opt.MaxOpenFiles)
	if err := s.fs.Mkdir(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	// Also where it was there: whoever made it may have died before this.
	if err := s.fs.SyncDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	s.lock, err = s.fs.Lock(filepath.Join(path, "lock"))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", blob.ErrLocked, err)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.files.close()
			s.lock.Close()
		}
	}()
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	if err := s.ensureBegun(); err != nil && !isNoRoom(err) {
		return nil, err
	} else if err != nil {
		s.logNoRoom(err)
	}
	if s.metrics, err = newMetrics(opt.Registerer); err != nil {
		return nil, err
	}
	s.writer = writer{s: s}
	go func() {
		defer close(s.wrote)
		s.writer.run()
	}()
	return s, nil
}

// enter begins something that Close waits for; s.inflight.Done ends it.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return blob.ErrClosed
	}
	s.inflight.Add(1)
	return nil
}

// Close waits for drafts being committed, notes where the incarnation ends and gives the directory back. Frames that
// are open can be read until they are closed. What else is called answers blob.ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.inflight.Wait()
	close(s.queue)
	<-s.wrote
	err := s.writer.close()
	if s.begun.Load() {
		if err := s.writeEnd(s.self.id, unpack(s.durable.Load())); err != nil {
			// Nothing is lost: the next Open finds the end itself.
			s.logUnsettled(s.self.id, err)
		}
	}
	s.files.close()
	s.metrics.unregister()
	if err := errors.Join(err, s.lock.Close()); err != nil {
		return fmt.Errorf("close blob directory %s: %w", s.root, err)
	}
	return nil
}

// end is a place in an incarnation.
type end struct {
	segment uint32
	offset  uint32
}

func pack(e end) uint64   { return uint64(e.segment)<<32 | uint64(e.offset) }
func unpack(v uint64) end { return end{segment: uint32(v >> 32), offset: uint32(v & math.MaxUint32)} }

// holds tells whether a frame lies before the end.
func (e end) holds(id blob.ID) bool {
	if id.Segment != e.segment {
		return id.Segment < e.segment
	}
	return uint64(id.Offset)+uint64(id.Length) <= uint64(e.offset)
}

// firstOffset is where the first frame of a segment lies.
const firstOffset = frame.SegmentHeaderLen
