package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// smallFrame is the longest frame that is read by one call, body and all.
const smallFrame = 64 << 10

// opened is a frame with what reads its body, made at once.
type opened struct {
	blob.Frame
	header frame.Header
	body   body
}

// Open reads a small frame as a whole, header and trailer of any other.
func (s *Store) Open(ctx context.Context, id blob.ID) (*blob.Frame, error) {
	o, err := s.open(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("open blob %v: %w", id, err)
	}
	return &o.Frame, nil
}

func (s *Store) open(ctx context.Context, id blob.ID) (*opened, error) {
	o, err := s.openOne(ctx, id)
	if err != nil || o.header.Place != frame.Shared {
		return o, err
	}
	owner, err := s.openOne(ctx, o.header.Owner)
	if err != nil {
		return nil, fmt.Errorf("body of blob %v: %w", o.header.Owner, err)
	}
	if owner.header.Place == frame.Shared || owner.Digest != o.Digest || owner.Size != o.Size {
		owner.Close()
		return nil, fmt.Errorf("%w: body of blob %v is another", blob.ErrCorrupt, owner.ID)
	}
	o.Body = owner.Body
	return o, nil
}

// openOwner opens the frame that has the body of id: itself, or the one that it shares with.
func (s *Store) openOwner(ctx context.Context, id blob.ID) (*opened, error) {
	o, err := s.openOne(ctx, id)
	if err != nil || o.header.Place != frame.Shared {
		return o, err
	}
	owner, err := s.openOne(ctx, o.header.Owner)
	if err == nil && owner.header.Place == frame.Shared {
		owner.Close()
		err = fmt.Errorf("%w: shared body is shared", blob.ErrCorrupt)
	}
	return owner, err
}

// openOne opens a frame, where it was moved to if it is not at its place, without following a shared body: its Body is
// nil then.
func (s *Store) openOne(ctx context.Context, id blob.ID) (*opened, error) {
	o, err := s.openAt(ctx, id)
	if !errors.Is(err, blob.ErrNotFound) && !errors.Is(err, errNoBody) {
		return o, err
	}
	place, lookup := s.moves.Of(ctx, id)
	if lookup != nil {
		return nil, lookup
	}
	if place.IsZero() {
		return nil, err
	}
	if o, err = s.openAt(ctx, place); err != nil {
		return nil, fmt.Errorf("moved to %v: %w", place, err)
	}
	if o.header.Origin != id {
		first := o.header.FirstID()
		o.Close()
		return nil, fmt.Errorf("moved to %v: %w: there is blob %v", place, blob.ErrNotFound, first)
	}
	o.ID = id
	return o, nil
}

// openAt opens the frame at a place.
func (s *Store) openAt(ctx context.Context, id blob.ID) (*opened, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	inc := s.byID[id.Incarnation]
	if inc == nil || !s.endOf(inc).holds(id) || id.Offset < firstOffset || id.Length < frame.HeaderLen+frame.TrailerLen {
		return nil, blob.ErrNotFound
	}
	file, err := s.segmentFile(id.Incarnation, id.Segment)
	if err != nil {
		return nil, orNotFound(err)
	}
	o := &opened{Frame: blob.Frame{ID: id}}
	if id.Length <= smallFrame {
		err = o.readWhole(s, file)
	} else {
		err = o.readEnds(s, file)
	}
	if err == nil && o.header.Place == frame.Apart {
		file.release()
		file, err = s.openApart(&o.header)
		o.body.base = 0
	}
	switch {
	case err != nil:
		o.body.buf.put()
		if file != nil {
			file.release()
		}
		return nil, err
	case o.header.Place == frame.Shared || o.body.mem != nil:
		file.release()
	default:
		o.body.file = file
	}
	if o.header.Place != frame.Shared {
		o.body.s, o.body.size = s, o.Size
		o.Body = &o.body
	}
	return o, nil
}

// Close gives back what the body holds; that of a shared frame holds nothing.
func (o *opened) Close() error {
	if o.Body == nil {
		return nil
	}
	return o.Frame.Close()
}

func orNotFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return blob.ErrNotFound
	}
	return err
}

// readWhole reads the frame into memory, where its body then is read from.
func (o *opened) readWhole(s *Store, file *handle) error {
	o.body.buf = s.pool.get(int(o.ID.Length))
	b := o.body.buf.b[:o.ID.Length]
	if err := readFull(file, b, int64(o.ID.Offset)); err != nil {
		return err
	}
	if err := o.parseHeader(b); err != nil {
		return err
	}
	end := frame.HeaderLen + o.header.BodyLen()
	if err := o.parseTrailer(b[:frame.HeaderLen], b[end:]); err != nil {
		return err
	}
	if o.header.Place == frame.Inline {
		o.body.mem = b[frame.HeaderLen:end:end]
		return nil
	}
	o.body.sums = bytes.Clone(o.body.sums)
	o.body.buf.put()
	o.body.buf = nil
	return nil
}

// readEnds reads header and trailer.
func (o *opened) readEnds(s *Store, file *handle) error {
	header := make([]byte, frame.HeaderLen)
	if err := readFull(file, header, int64(o.ID.Offset)); err != nil {
		return err
	}
	if err := o.parseHeader(header); err != nil {
		return err
	}
	trailer := make([]byte, o.header.TrailerLen())
	if err := readFull(file, trailer, int64(o.ID.Offset)+int64(o.ID.Length)-int64(len(trailer))); err != nil {
		return err
	}
	o.body.base = int64(o.ID.Offset) + frame.HeaderLen
	return o.parseTrailer(header, trailer)
}

// parseHeader verifies that the header is the one that the ID means.
func (o *opened) parseHeader(b []byte) (err error) {
	o.header, err = frame.ParseHeader(b)
	if errors.Is(err, frame.ErrAbsent) {
		return fmt.Errorf("%w: %w", blob.ErrCorrupt, err)
	}
	if err == nil && o.header.ID() != o.ID {
		err = fmt.Errorf("%w: there is blob %v", blob.ErrNotFound, o.header.ID())
	}
	return err
}

func (o *opened) parseTrailer(header, trailer []byte) error {
	t, err := frame.ParseTrailer(&o.header, header, trailer)
	if err != nil {
		return err
	}
	// The tail is copied: callers keep it, and the rest may be pooled memory.
	o.Meta = blob.Meta{Kind: o.header.Kind, QueueID: o.header.QueueID, Tail: bytes.Clone(t.Tail)}
	o.Size, o.Digest, o.body.sums = t.Size, t.Digest, t.Sums
	return nil
}

// errNoBody is a frame whose body apart is missing: it was lost, or the frame was moved and its segment is being removed.
var errNoBody = fmt.Errorf("%w: its body is missing", blob.ErrCorrupt)

// openApart opens the file of a body that lies apart.
func (s *Store) openApart(h *frame.Header) (*handle, error) {
	ref := h.Apart
	file, err := s.files.acquire(fileKey{incarnation: ref.Incarnation, apart: true, number: ref.Number}, func() string {
		return s.bodyPath(ref.Incarnation, ref.Number)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: body %d/%d", errNoBody, ref.Incarnation, ref.Number)
	}
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err == nil && size != h.Stored {
		err = fmt.Errorf("%w: its body %d/%d has %d octets, want %d", blob.ErrCorrupt, ref.Incarnation, ref.Number, size, h.Stored)
	}
	if err != nil {
		file.release()
		return nil, err
	}
	return file, nil
}

// readFull fills b from a place that was durable once: octets missing there are damage.
func readFull(file *handle, b []byte, off int64) error {
	n, err := file.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if isEOF(err) {
		return fmt.Errorf("%w: %d of %d octets at %d", blob.ErrCorrupt, n, len(b), off)
	}
	return err
}

// UseLocator says whom to ask about frames that are not at their places.
func (s *Store) UseLocator(l blob.Locator) { s.moves.Use(l) }
