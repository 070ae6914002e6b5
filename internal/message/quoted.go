package message

import "io"

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
