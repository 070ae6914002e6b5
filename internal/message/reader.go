package message

import (
	"errors"
	"io"
)

// NewReader gives a message as readers see it: body, which has size octets, under its overlay. Reads of the result at
// offsets read no more of the body than they return.
func NewReader(o Overlay, body io.ReaderAt, size int64) *io.SectionReader {
	r := &overlayReader{overlay: o, body: body, size: size}
	return io.NewSectionReader(r, 0, o.Size(size))
}

type overlayReader struct {
	overlay Overlay
	body    io.ReaderAt
	size    int64
}

// ReadAt reads what is seen.
func (r *overlayReader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, errors.New("read before a message's begin")
	}
	var room [4]Piece
	n := 0
	for _, piece := range r.overlay.Pieces(room[:0], Range{offset, int64(len(p))}, r.size) {
		to := p[n : n+int(piece.Length)]
		if piece.Prefix {
			n += copy(to, r.overlay.Prefix[piece.Offset:])
			continue
		}
		m, err := r.body.ReadAt(to, piece.Offset)
		n += m
		if m < len(to) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
