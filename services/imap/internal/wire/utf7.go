package wire

import (
	"encoding/base64"
	"unicode/utf16"
	"unicode/utf8"
)

// utf7 is base64 with "," for "/" (RFC 3501 §5.1.3).
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding).Strict()

// AppendUTF7 writes a mailbox name in modified UTF-7 (RFC 3501 §5.1.3).
func AppendUTF7(b []byte, name string) []byte {
	for i := 0; i < len(name); {
		c := name[i]
		if c == '&' {
			b = append(b, '&', '-')
			i++
			continue
		}
		if c >= 0x20 && c < 0x7f {
			b = append(b, c)
			i++
			continue
		}
		var run []byte
		for i < len(name) && (name[i] < 0x20 || name[i] >= 0x7f) {
			r, n := utf8.DecodeRuneInString(name[i:])
			i += n
			if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
				run = append(run, byte(hi>>8), byte(hi), byte(lo>>8), byte(lo))
			} else {
				run = append(run, byte(r>>8), byte(r))
			}
		}
		b = append(b, '&')
		b = utf7.AppendEncode(b, run)
		b = append(b, '-')
	}
	return b
}

// DecodeUTF7 reads modified UTF-7. Forms that AppendUTF7 does not write (base64 of what can stand for itself, two runs in
// a row, half a surrogate pair) are refused, so that one mailbox has one name.
func DecodeUTF7(name []byte) (string, bool) {
	out := make([]byte, 0, len(name))
	closed := -1 // where the last base64 run ended
	for i := 0; i < len(name); {
		c := name[i]
		if c < 0x20 || c >= 0x7f {
			return "", false
		}
		if c != '&' {
			out = append(out, c)
			i++
			continue
		}
		end := i + 1
		for end < len(name) && name[end] != '-' {
			end++
		}
		if end == len(name) {
			return "", false
		}
		if end == i+1 {
			out = append(out, '&')
			i = end + 1
			continue
		}
		if closed == i {
			return "", false
		}
		run, err := utf7.DecodeString(string(name[i+1 : end]))
		if err != nil || len(run)%2 != 0 {
			return "", false
		}
		for k := 0; k < len(run); k += 2 {
			r := rune(run[k])<<8 | rune(run[k+1])
			if utf16.IsSurrogate(r) {
				if k+3 >= len(run) {
					return "", false
				}
				r = utf16.DecodeRune(r, rune(run[k+2])<<8|rune(run[k+3]))
				if r == utf8.RuneError {
					return "", false
				}
				k += 2
			}
			if r >= 0x20 && r < 0x7f {
				return "", false
			}
			out = utf8.AppendRune(out, r)
		}
		i = end + 1
		closed = i
	}
	return string(out), true
}
