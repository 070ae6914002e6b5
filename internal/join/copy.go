package join

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/blake3"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// Bounds of memory: a frame in hand holds its body up to the bucket's threshold, so few large ones are.
const (
	smallBody    = 32 << 10
	frameWorkers = 256
	largeAtOnce  = 16
	framePage    = 2000
	sayEvery     = 5 * time.Second
)

// frames copies what is accounted for: first the frames with bodies of their own, then those that share one.
func (j *joiner) frames(ctx context.Context) error {
	const left = "state = 0 AND need <> 2"
	if err := j.again(ctx); err != nil {
		return err
	}
	if n, err := j.book.one(ctx, "SELECT COUNT(*) FROM frame WHERE "+left); err != nil || n == 0 {
		return errors.Join(err, j.damage(ctx))
	}
	if err := j.copyFrames(ctx, accounted, left+" AND owner IS NULL", left+" AND owner IS NOT NULL"); err != nil {
		return err
	}
	return j.damage(ctx)
}

// again tries what could not be read anew, as it may have been restored; not once rows say where it is.
func (j *joiner) again(ctx context.Context) error {
	s, err := j.dst.step(ctx, j.book.site, indexTables[0].target)
	if err != nil || s.position != "" || s.done {
		return err
	}
	return j.retry(ctx, "need <> 2")
}

func (j *joiner) retry(ctx context.Context, which string) error {
	return j.book.Write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("UPDATE frame SET state = 0 WHERE state = 3 AND " + which)
		return err
	})
}

// pending copies what recovery is to find, when all else is there.
func (j *joiner) pending(ctx context.Context) error {
	const left = "state = 0 AND need = 2"
	if err := j.retry(ctx, "need = 2"); err != nil {
		return err
	}
	if n, err := j.book.one(ctx, "SELECT COUNT(*) FROM frame WHERE "+left); err != nil || n == 0 {
		return err
	}
	if err := j.copyFrames(ctx, pending, left); err != nil {
		return err
	}
	return j.damage(ctx)
}

// damage refuses to go on without mail that cannot be read, unless it was told to.
func (j *joiner) damage(ctx context.Context) error {
	j.out.Damaged = j.out.Damaged[:0]
	err := j.book.each(ctx, "state = 3", func(e entry) error {
		d := Damage{Blob: e.old.String()}
		if len(e.queueID) == len(envelope.QueueID{}) && e.queueID != nil {
			d.QueueID = envelope.QueueID(e.queueID).String()
		}
		j.out.Damaged = append(j.out.Damaged, d)
		return nil
	})
	if err != nil || len(j.out.Damaged) == 0 || j.cfg.Damaged {
		return err
	}
	return fmt.Errorf("%w: %d frames: restore them from a backup, or go on without them by --damaged", ErrDamaged, len(j.out.Damaged))
}

// copier is one pass over frames.
type copier struct {
	*joiner
	blobs *s3.Store
	holds holds
	// known are incarnations that were noted.
	mu    sync.Mutex
	known map[uint64]holds
	// found tells that an earlier run left frames that it did not note.
	found bool
	// large has room for each body in hand that is not small.
	large chan struct{}

	done, bytes atomic.Int64
}

func (j *joiner) copyFrames(ctx context.Context, h holds, passes ...string) (err error) {
	blobs, err := j.dst.blobs(ctx)
	if err != nil {
		return err
	}
	c := &copier{joiner: j, blobs: blobs, holds: h, large: make(chan struct{}, largeAtOnce)}
	defer func() { err = errors.Join(err, blobs.Close()) }()
	if err := c.adopt(ctx); err != nil {
		return err
	}
	if id := blobs.Incarnation(); id != 0 {
		if err := c.note(ctx, id); err != nil {
			return err
		}
	}
	stop := c.progress(ctx)
	defer stop()
	for _, where := range passes {
		if err := c.pass(ctx, where); err != nil {
			return err
		}
	}
	return nil
}

// note takes an incarnation of this process down before it gets frames, and keeps recovery from it where they are accounted for.
func (c *copier) note(ctx context.Context, id uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[id]; ok {
		return nil
	}
	if c.holds == accounted {
		if err := c.dst.settled(ctx, id); err != nil {
			return fmt.Errorf("keep recovery from incarnation %d: %w", id, err)
		}
	}
	if err := c.fault("incarnation-settled"); err != nil {
		return err
	}
	if err := c.book.noteIncarnation(ctx, id, c.holds); err != nil {
		return err
	}
	c.known[id] = c.holds
	return nil
}

// pass copies the frames for which where holds.
func (c *copier) pass(ctx context.Context, where string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan entry)
	var wg sync.WaitGroup
	for range frameWorkers {
		wg.Go(func() {
			buf := make([]byte, smallBody)
			for e := range work {
				if err := c.copyOne(ctx, e, buf); err != nil {
					cancel(fmt.Errorf("frame %v: %w", e.old, err))
				}
			}
		})
	}
	var after blob.ID
	var err error
	for more := true; more && err == nil; {
		var page []entry
		page, err = c.book.page(ctx, after, where, framePage)
		more = len(page) == framePage
		for _, e := range page {
			after = e.old
			select {
			case work <- e:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	close(work)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// copyOne copies a frame, or takes the copy that an earlier run made.
func (c *copier) copyOne(ctx context.Context, e entry, buf []byte) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f, err := c.src.blobs.Open(ctx, e.old)
	if isLost(err) {
		return c.lost(ctx, e)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Size > smallBody {
		c.large <- struct{}{}
		defer func() { <-c.large }()
	}
	e.size, e.digest, e.meta = f.Size, f.Digest[:], metaOf(f.Meta, f.Size)
	if !f.Meta.QueueID.IsZero() {
		e.queueID = f.Meta.QueueID[:]
	}
	place, err := c.adopted(ctx, e)
	if err == nil && place.IsZero() {
		place, err = c.write(ctx, e, f, buf)
	}
	if isLost(err) {
		return c.lost(ctx, e)
	}
	if err != nil {
		return err
	}
	if err := c.fault("frame-written"); err != nil {
		return err
	}
	if err := c.note(ctx, place.Incarnation); err != nil {
		return err
	}
	e.state, e.place = copied, place
	if err := c.book.settle(ctx, e); err != nil {
		return err
	}
	c.done.Add(1)
	c.bytes.Add(f.Size)
	return c.fault("frame-noted")
}

// isLost tells whether a frame of the site cannot be read.
func isLost(err error) bool {
	return !errors.Is(err, errWrite) && (errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt))
}

// lost notes a frame that cannot be read. One that nothing wants any more was given back.
func (c *copier) lost(ctx context.Context, e entry) error {
	c.done.Add(1)
	e.state = damaged
	if e.need == spare {
		e.state = gone
	}
	return c.book.settle(ctx, e)
}

// Where copying failed.
var (
	errRead  = errors.New("read the site's")
	errWrite = errors.New("write the farm's")
)

// siteReader marks what reading a body of the site failed with, and hashes it.
type siteReader struct {
	r    io.Reader
	hash *blake3.Hasher
}

func (s *siteReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.hash.Write(p[:n])
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", errRead, err)
	}
	return n, err
}

// onlyWriter keeps io.CopyBuffer to its buffer.
type onlyWriter struct{ io.Writer }

// write writes a frame as it is. Its body is shared where its owner was copied.
func (c *copier) write(ctx context.Context, e entry, f *blob.Frame, buf []byte) (blob.ID, error) {
	owner, err := c.ownerOf(ctx, e)
	if err != nil {
		return blob.ID{}, err
	}
	d, err := c.blobs.Create(owner)
	if err != nil {
		return blob.ID{}, fmt.Errorf("%w: %w", errWrite, err)
	}
	defer d.Discard()
	body := &siteReader{r: f.Reader(), hash: blake3.New()}
	to := io.Writer(onlyWriter{d})
	if !owner.IsZero() {
		to = onlyWriter{io.Discard}
	}
	if _, err := io.CopyBuffer(to, body, buf); errors.Is(err, errRead) {
		return blob.ID{}, err
	} else if err != nil {
		return blob.ID{}, fmt.Errorf("%w: %w", errWrite, err)
	}
	if digest := [32]byte(body.hash.Sum(nil)); digest != f.Digest || d.Size() != f.Size {
		return blob.ID{}, fmt.Errorf("%w: %w: another digest", errRead, blob.ErrCorrupt)
	}
	id, err := d.Commit(ctx, f.Meta)
	if err != nil {
		return blob.ID{}, fmt.Errorf("%w: %w", errWrite, err)
	}
	return id, nil
}

func (c *copier) ownerOf(ctx context.Context, e entry) (blob.ID, error) {
	if e.owner.IsZero() {
		return blob.ID{}, nil
	}
	found, err := c.book.has(ctx, []blob.ID{e.owner})
	return found[e.owner].place, err
}

// progress tells how far the pass is, now and then and at the end.
func (c *copier) progress(ctx context.Context) (stop func()) {
	total, _ := c.book.one(ctx, "SELECT COUNT(*) FROM frame WHERE state = 0 AND (need = 2) = ?", c.holds == pending)
	began := time.Now()
	tell := func() {
		n, took := c.done.Load(), max(time.Since(began), time.Millisecond)
		c.deps.Say("frames: %d of %d, %.0f MiB, %.0f/s", n, total, float64(c.bytes.Load())/(1<<20), float64(n)/took.Seconds())
	}
	ended, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		ticker := time.NewTicker(sayEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				tell()
			case <-ended:
				return
			}
		}
	}()
	return func() { close(ended); <-gone; tell() }
}
