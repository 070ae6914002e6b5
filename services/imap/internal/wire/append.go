package wire

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// quotedMax is the longest string written in quotes; longer ones are literals.
const quotedMax = 1024

// AppendString writes a string: quoted where it can be, else as a literal. utf8OK tells that the peer takes UTF-8 in
// quotes (RFC 6855 §3, IMAP4rev2).
func AppendString[T string | []byte](b []byte, s T, utf8OK bool) []byte {
	if len(s) > quotedMax || !quotable(s, utf8OK) {
		return AppendLiteral(b, s)
	}
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// AppendLiteral writes a literal.
func AppendLiteral[T string | []byte](b []byte, s T) []byte {
	b = append(b, '{')
	b = strconv.AppendUint(b, uint64(len(s)), 10)
	b = append(b, "}\r\n"...)
	return append(b, s...)
}

// AppendValue writes a value that Lexer.Value reads: one with NUL as a literal8.
func AppendValue(b, value []byte, utf8OK bool) []byte {
	if bytes.IndexByte(value, 0) < 0 {
		return AppendString(b, value, utf8OK)
	}
	return AppendLiteral(append(b, '~'), value)
}

func quotable[T string | []byte](s T, utf8OK bool) bool {
	high := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\r' || c == '\n' || c == 0:
			return false
		case c >= 0x80:
			high = true
		}
	}
	return !high || utf8OK && utf8.ValidString(string(s))
}

// AppendAString writes an atom where that can be, else a string.
func AppendAString[T string | []byte](b []byte, s T, utf8OK bool) []byte {
	if len(s) == 0 || len(s) > quotedMax || len(s) == 3 && string(s) == "NIL" {
		return AppendString(b, s, utf8OK)
	}
	for i := 0; i < len(s); i++ {
		if classes[s[i]]&astringChar == 0 {
			return AppendString(b, s, utf8OK)
		}
	}
	return append(b, s...)
}

// AppendMailbox writes a mailbox name, in modified UTF-7 unless utf8OK.
func AppendMailbox(b []byte, name string, utf8OK bool) []byte {
	if utf8OK {
		return AppendAString(b, name, true)
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c < 0x20 || c >= 0x7f || c == '&' {
			return AppendAString(b, AppendUTF7(nil, name), false)
		}
	}
	return AppendAString(b, name, false)
}

// DecodeMailbox reads a mailbox name. INBOX is upper-case whatever it came in.
//
// QUIRK: go-imap and others write UTF-8 as soon as IMAP4rev2 is offered. Modified UTF-7 has no octets above 127, so a name
// with such is taken for UTF-8 also where that was not enabled.
func DecodeMailbox(name []byte, utf8OK bool) (string, bool) {
	out := string(name)
	if !utf8OK && !(hasHigh(name) && utf8.Valid(name)) {
		var ok bool
		if out, ok = DecodeUTF7(name); !ok {
			return "", false
		}
	} else if !utf8.Valid(name) {
		return "", false
	}
	for _, c := range out {
		if c < 0x20 || c == 0x7f || c >= 0x80 && c < 0xa0 || c == 0x2028 || c == 0x2029 {
			// Control characters have no place in a name (RFC 5198 §2).
			return "", false
		}
	}
	return canonicalInbox(out), true
}

func hasHigh(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

func canonicalInbox(name string) string {
	if len(name) >= 5 && equalFold(name[:5], "INBOX") && (len(name) == 5 || name[5] == '/') {
		return "INBOX" + name[5:]
	}
	return name
}

func equalFold(s, upper string) bool {
	for i := 0; i < len(upper); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}
