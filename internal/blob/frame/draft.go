package frame

import (
	"errors"
	"fmt"
	"io"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// ErrOver is a draft used after its end.
var ErrOver = errors.New("draft was committed or discarded")

// Draft is what a frame being written has in common, wherever its body lies.
type Draft struct {
	// Owner is the frame whose body is shared, nil for a body of its own; Share is its header.
	Owner *blob.Frame
	Share Header
	// Length is how many octets the body has.
	Length int64
	// Err is what Write failed with: the draft cannot be committed.
	Err error
	// Over says that it was committed or discarded.
	Over bool
}

// Size is how many octets the body has.
func (d *Draft) Size() int64 { return d.Length }

// Writable tells whether n more octets may be written.
func (d *Draft) Writable(n int) error {
	switch {
	case d.Over:
		return ErrOver
	case d.Err != nil:
		return d.Err
	case d.Owner != nil:
		return errors.New("write to a draft that shares a body")
	case d.Length+int64(n) > MaxBody:
		d.Err = fmt.Errorf("%w: body of more than %d octets", blob.ErrTooLarge, MaxBody)
	}
	return d.Err
}

// Finishable tells whether a frame can be made of the draft with meta.
func (d *Draft) Finishable(meta *blob.Meta) error {
	switch {
	case d.Err != nil:
		return d.Err
	case meta.Kind < blob.Accepted || meta.Kind > blob.Generated:
		return fmt.Errorf("kind %d is not known", meta.Kind)
	case len(meta.Tail) > MaxTail:
		return fmt.Errorf("%w: tail of %d octets, at most %d", blob.ErrTooLarge, len(meta.Tail), MaxTail)
	}
	return nil
}

// ReadBody reads what was written so far: from spill where that is not nil, otherwise from mem, or from the shared body.
func (d *Draft) ReadBody(p []byte, off int64, mem []byte, spill func([]byte, int64) (int, error)) (int, error) {
	switch {
	case d.Over:
		return 0, ErrOver
	case off < 0:
		return 0, fmt.Errorf("read at %d", off)
	case d.Owner != nil:
		return d.Owner.Body.ReadAt(p, off)
	case off >= d.Length:
		return 0, io.EOF
	case spill != nil:
		return spill(p, off)
	}
	return Copied(p, mem[off:])
}

// Copied is what ReadAt returns for octets in memory, the last of a body.
func Copied(p, rest []byte) (int, error) {
	n := copy(p, rest)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
