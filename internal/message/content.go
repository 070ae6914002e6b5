package message

import (
	"errors"
	"io"
	"sync"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// ErrUnknownEncoding is a Content-Transfer-Encoding that nobody knows: [UNKNOWN-CTE] in IMAP (RFC 3516 §4.3).
var ErrUnknownEncoding = errors.New("unknown content-transfer-encoding")

// NewDecoder decodes what r gives by a Content-Transfer-Encoding in lower case (RFC 2045 §6); empty is 7bit. What is not
// encoded right is decoded as far as possible, never an error; errors of r are passed on.
//
// Error: ErrUnknownEncoding.
func NewDecoder(encoding string, r io.Reader) (io.Reader, error) {
	switch {
	case isIdentity(encoding):
		return r, nil
	case encoding == "base64":
		return &base64Reader{source: source{r: r}}, nil
	case encoding == "quoted-printable":
		return &quotedReader{source: source{r: r}}, nil
	}
	return nil, ErrUnknownEncoding
}

var copyBuffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// DecodedSize counts the octets that NewDecoder gives of r, without holding them: BINARY.SIZE.
func DecodedSize(encoding string, r io.Reader) (int64, error) {
	d, err := NewDecoder(encoding, r)
	if err != nil {
		return 0, err
	}
	buf := copyBuffers.Get().(*[16 << 10]byte)
	defer copyBuffers.Put(buf)
	var size int64
	for {
		n, err := d.Read(buf[:])
		size += int64(n)
		if err == io.EOF {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
}

// NewTextReader gives the text of a text part as UTF-8: body, the part's octets, decoded by its encoding and charset, at
// most limit octets of the result. An unknown encoding or charset is taken for none, and what is no UTF-8 in the end is
// U+FFFD.
func NewTextReader(p *Part, body io.Reader, limit int64) io.Reader {
	r, err := NewDecoder(p.Encoding, body)
	if err != nil {
		r = body
	}
	if enc := charsetOf(p.Param("charset")); enc != nil {
		r = transform.NewReader(r, enc.NewDecoder())
	} else {
		r = transform.NewReader(r, unicode.UTF8.NewDecoder())
	}
	return io.LimitReader(r, limit)
}

// source reads octets from r in large pieces.
type source struct {
	r    io.Reader
	buf  [4 << 10]byte
	b    []byte // unread part of buf
	err  error
	idle int
}

// fill makes b non-empty; false at the end, or with err.
func (s *source) fill() bool {
	for len(s.b) == 0 {
		if s.err != nil {
			return false
		}
		var n int
		n, s.err = s.r.Read(s.buf[:])
		s.b = s.buf[:n]
		if n == 0 && s.err == nil {
			if s.idle++; s.idle == 100 {
				s.err = io.ErrNoProgress
			}
		} else {
			s.idle = 0
		}
	}
	return true
}
