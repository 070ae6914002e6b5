package message

import "io"

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
