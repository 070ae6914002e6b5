package imap

import (
	"errors"
	"io"

	"github.com/mailfarm/mailfarm/internal/message"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// partReader reads a part as readers see it, by calls of its own if it is not at hand.
type partReader struct {
	m      *mails
	mail   *mail
	pieces []message.Piece
	stream *bodyStream
	left   int64
}

func (m *mails) reader(d *datum) *partReader {
	return &partReader{m: m, mail: d.mail, pieces: d.mail.overlay.Pieces(nil, d.at, d.mail.email.GetSize())}
}

// Read reads on.
func (r *partReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		r.close()
		if len(r.pieces) == 0 {
			return 0, io.EOF
		}
		piece := r.pieces[0]
		r.pieces = r.pieces[1:]
		if body := r.mail.body(); !piece.Prefix && body != nil {
			r.stream = &bodyStream{m: r.m, held: body[piece.Offset:piece.End()], cancel: func() {}}
		} else if piece.Prefix {
			r.stream = &bodyStream{m: r.m, held: r.mail.overlay.Prefix[piece.Offset:piece.End()], cancel: func() {}}
		} else {
			var err error
			r.stream, err = r.m.open([]*storev1.BodyRange{{BlobId: r.mail.email.GetBlobId(), Offset: piece.Offset, Length: piece.Length}})
			if err != nil {
				return 0, err
			}
		}
		r.left = piece.Length
	}
	if err := r.stream.ready(); err != nil {
		if errors.Is(err, io.EOF) {
			err = errShortBody
		}
		return 0, err
	}
	n := copy(p, r.stream.held)
	r.stream.held = r.stream.held[n:]
	r.left -= int64(n)
	return n, nil
}

func (r *partReader) close() {
	if r.stream != nil {
		r.stream.cancel()
		r.stream = nil
	}
}

// Close ends reading.
func (r *partReader) Close() error {
	r.close()
	return nil
}
