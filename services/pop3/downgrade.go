package pop3

import (
	"bytes"
	"mime"
	"strings"
	"unicode/utf8"
)

// fieldMax is the longest header field that is downgraded, octets; a longer one passes as it is.
const fieldMax = 64 << 10

// downgrade makes a header fit for a client that has not said UTF8 (RFC 6856 §2, RFC 6858): fields in UTF-8 become encoded
// words, and addresses that ASCII cannot say are named in an empty group. A field that is not UTF-8 was never of
// internationalized mail and passes as it is, as does everything behind the header. The zero value is at the begin of a message.
type downgrade struct {
	body bool // behind the header, or given up
	held []byte
	out  []byte
}

// take gives what is to be sent of the next piece. It holds until the next call.
func (d *downgrade) take(piece []byte) []byte {
	if d.body {
		return piece
	}
	d.held = append(d.held, piece...)
	d.out = d.out[:0]
	for !d.body {
		n := fieldEnd(d.held)
		if n < 0 {
			if len(d.held) > fieldMax {
				d.finish()
			}
			break
		}
		field := d.held[:n]
		if len(bytes.TrimRight(field, "\r\n")) == 0 {
			d.finish() // the empty line
			break
		}
		d.out = appendField(d.out, field)
		d.held = d.held[n:]
	}
	return d.out
}

// end gives what is left of a message that is all header.
func (d *downgrade) end() []byte {
	if d.body || len(d.held) == 0 {
		return nil
	}
	d.body = true
	return appendField(nil, d.held)
}

// finish passes on what is held.
func (d *downgrade) finish() {
	d.out = append(d.out, d.held...)
	d.body, d.held = true, nil
}

// fieldEnd finds the end of the first field, with the lines that continue it; -1 where it has not come yet.
func fieldEnd(b []byte) int {
	for i := 0; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return -1
		}
		i += n + 1
		if len(bytes.TrimRight(b[:i], "\r\n")) == 0 {
			return i
		}
		if i == len(b) {
			return -1
		}
		if b[i] != ' ' && b[i] != '\t' {
			return i
		}
	}
}

// addressFields have addresses (RFC 6858 §3.1.1).
var addressFields = map[string]bool{
	"from": true, "sender": true, "to": true, "cc": true, "bcc": true, "reply-to": true, "resent-from": true, "resent-sender": true,
	"resent-to": true, "resent-cc": true, "resent-bcc": true, "resent-reply-to": true, "return-path": true, "disposition-notification-to": true,
}

// structured tells of fields that have no place for encoded words: in UTF-8 they are left out (RFC 6858 §3.1.3).
func structured(name string) bool {
	switch name {
	case "message-id", "resent-message-id", "in-reply-to", "references", "date", "resent-date", "received", "mime-version":
		return true
	}
	return strings.HasPrefix(name, "content-") && name != "content-description"
}

// appendField writes a field as ASCII.
func appendField(b, field []byte) []byte {
	colon := bytes.IndexByte(field, ':')
	if isASCII(field) || colon <= 0 || !utf8.Valid(field) || !isASCII(field[:colon]) {
		return append(b, field...)
	}
	name := strings.ToLower(string(bytes.TrimSpace(field[:colon])))
	value := strings.Join(strings.Fields(string(field[colon+1:])), " ")
	switch {
	case structured(name):
		return b
	case addressFields[name]:
		b = append(append(b, field[:colon]...), ": Internationalized address "...)
		b = append(b, words(value)...)
		return append(b, " removed:;\r\n"...)
	}
	b = append(append(b, field[:colon]...), ": "...)
	return append(append(b, words(value)...), "\r\n"...)
}

// words are encoded words, a line each.
func words(value string) string {
	return strings.ReplaceAll(mime.BEncoding.Encode("utf-8", value), "?= =?", "?=\r\n =?")
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
