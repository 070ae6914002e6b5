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

// base64Reader decodes base64 (RFC 2045 §6.8): octets outside of the alphabet are skipped, padding may be missing, and
// encoded pieces may follow one another.
type base64Reader struct {
	source
	bits  uint32
	chars int
	out   [3]byte
	ready []byte // of out
}

const skipped = 0xff

var base64Values = func() (t [256]byte) {
	for i := range t {
		t[i] = skipped
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = byte(i)
	}
	return t
}()

func (d *base64Reader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(d.ready) > 0 {
			c := copy(p[n:], d.ready)
			d.ready = d.ready[c:]
			n += c
			continue
		}
		if len(d.b) == 0 {
			if n > 0 && d.err == nil {
				return n, nil // what there is, before waiting for more
			}
			if !d.fill() {
				if d.err == io.EOF && d.flush() {
					continue
				}
				if n > 0 {
					return n, nil
				}
				return 0, d.err
			}
		}
		i := 0
		for i < len(d.b) && len(p)-n >= 3 {
			c := d.b[i]
			i++
			v := base64Values[c]
			if v == skipped {
				if c == '=' && d.flush() {
					break
				}
				continue
			}
			d.bits = d.bits<<6 | uint32(v)
			if d.chars++; d.chars == 4 {
				p[n], p[n+1], p[n+2] = byte(d.bits>>16), byte(d.bits>>8), byte(d.bits)
				n += 3
				d.bits, d.chars = 0, 0
			}
		}
		d.b = d.b[i:]
		if i == 0 { // p has little room: by way of out
			d.slow()
		}
	}
	return n, nil
}

// slow decodes one octet of input into out.
func (d *base64Reader) slow() {
	c := d.b[0]
	d.b = d.b[1:]
	v := base64Values[c]
	if v == skipped {
		if c == '=' {
			d.flush()
		}
		return
	}
	d.bits = d.bits<<6 | uint32(v)
	if d.chars++; d.chars == 4 {
		d.out = [3]byte{byte(d.bits >> 16), byte(d.bits >> 8), byte(d.bits)}
		d.ready = d.out[:]
		d.bits, d.chars = 0, 0
	}
}

// flush gives the octets of a group that padding or the end cuts short; false where there are none.
func (d *base64Reader) flush() bool {
	n := d.chars * 6 / 8
	b := d.bits << (6 * (4 - d.chars))
	d.bits, d.chars = 0, 0
	if n == 0 || n == 3 {
		return false
	}
	d.out = [3]byte{byte(b >> 16), byte(b >> 8), byte(b)}
	d.ready = d.out[:n]
	return true
}

// quotedReader decodes quoted-printable (RFC 2045 §6.7): blanks at a line's end are dropped, and "=" before what is neither
// two hexadecimal digits nor a line end stands for itself.
type quotedReader struct {
	source
	held []byte // read ahead of what it means: blanks, or "=" with what follows
	out  []byte // decoded, not yet given: of room
	room []byte
}

// maxHeld is how many blanks in a row are held back; more are taken for text.
const maxHeld = 1000

func (d *quotedReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(d.out) > 0 {
			c := copy(p[n:], d.out)
			d.out = d.out[c:]
			n += c
			continue
		}
		if len(d.b) == 0 {
			if n > 0 && d.err == nil {
				return n, nil
			}
			if !d.fill() {
				if d.err == io.EOF && len(d.held) > 0 {
					d.atEnd()
					continue
				}
				if n > 0 {
					return n, nil
				}
				return 0, d.err
			}
		}
		if len(d.held) == 0 {
			if m := d.plain(p[n:]); m > 0 {
				n += m
				continue
			}
		}
		c := d.b[0]
		d.b = d.b[1:]
		d.take(c)
	}
	return n, nil
}

// plain decodes what needs no memory of what came before, as most text: octets that stand for themselves, blanks within a
// line, whole "=XX". It tells how many octets it gave.
func (d *quotedReader) plain(p []byte) int {
	n, i := 0, 0
	for ; i < len(d.b) && n < len(p); n++ {
		c := d.b[i]
		switch {
		case c == '=':
			if i+2 >= len(d.b) || hexValue(d.b[i+1]) == skipped || hexValue(d.b[i+2]) == skipped {
				d.b = d.b[i:]
				return n
			}
			c = hexValue(d.b[i+1])<<4 | hexValue(d.b[i+2])
			i += 2
		case c == ' ' || c == '\t':
			if i+1 == len(d.b) || d.b[i+1] <= ' ' {
				d.b = d.b[i:]
				return n
			}
		}
		p[n] = c
		i++
	}
	d.b = d.b[i:]
	return n
}

// take adds an octet to what is held, and lets go of what it decides. The form of held is: blanks, then perhaps "=" with up
// to one hexadecimal digit, or with blanks and a CR.
func (d *quotedReader) take(c byte) {
	if len(d.held) == 0 || d.held[0] != '=' {
		d.takeBlank(c)
		return
	}
	rest := d.held[1:]
	switch {
	case c == '\n': // a soft line break, or CRLF's end; with a digit before it is neither
		if len(rest) == 1 && hexValue(rest[0]) < 16 {
			d.release(c)
			return
		}
		d.held = d.held[:0]
	case len(rest) == 0 && (hexValue(c) < 16 || isBlank(c)):
		d.held = append(d.held, c)
	case len(rest) == 1 && hexValue(rest[0]) < 16 && hexValue(c) < 16:
		d.give(nil, hexValue(rest[0])<<4|hexValue(c))
	case len(rest) > 0 && len(rest) < maxHeld && isBlank(rest[len(rest)-1]) && rest[len(rest)-1] != '\r' && isBlank(c):
		d.held = append(d.held, c)
	default:
		d.release(c)
	}
}

// takeBlank goes on from blanks.
func (d *quotedReader) takeBlank(c byte) {
	switch {
	case c == ' ' || c == '\t':
		if len(d.held) == maxHeld {
			d.give(d.held)
		}
		d.held = append(d.held, c)
	case c == '=':
		d.give(d.held)
		d.held = append(d.held, c)
	case c == '\r' || c == '\n':
		d.give(nil, c)
	default:
		d.give(d.held, c)
	}
}

// give makes octets ready; nothing is held any more.
func (d *quotedReader) give(held []byte, more ...byte) {
	d.room = append(append(d.room[:0], held...), more...)
	d.out, d.held = d.room, d.held[:0]
}

// release gives what is held as it stands, but for c, which is looked at anew.
func (d *quotedReader) release(c byte) {
	if c == '=' || c == ' ' || c == '\t' {
		d.give(d.held)
		d.held = append(d.held, c)
		return
	}
	d.give(d.held, c)
}

// atEnd decides what is held at the end of the text: "=" and blanks at the end are dropped.
func (d *quotedReader) atEnd() {
	if len(d.held) == 2 && d.held[0] == '=' && hexValue(d.held[1]) < 16 {
		d.give(d.held)
	}
	d.held = d.held[:0]
}

func hexValue(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return skipped
}
