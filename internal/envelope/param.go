package envelope

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Errors of parameters and their encodings.
var (
	ErrParameter = errors.New("syntax error in parameters")
	ErrXtext     = errors.New("syntax error in xtext")
)

// Parameter is one ESMTP parameter of MAIL or RCPT (RFC 5321 §4.1.2).
type Parameter struct {
	// Keyword is as the peer wrote it: compare it with strings.EqualFold.
	Keyword string
	Value   string
	// HasValue tells "KEYWORD=" from "KEYWORD".
	HasValue bool
}

// NextParameter reads the parameter that s begins with, behind any spaces, and returns what follows it.
// At the end of s the parameter has no keyword. Octets above 127 are allowed in values with smtputf8 only.
func NextParameter(s string, smtputf8 bool) (p Parameter, rest string, err error) {
	trimmed := strings.TrimLeft(s, " ")
	if trimmed == "" {
		return Parameter{}, "", nil
	}
	if len(trimmed) == len(s) {
		return Parameter{}, s, ErrParameter // No space before it.
	}
	word, rest := trimmed, ""
	if space := strings.IndexByte(trimmed, ' '); space >= 0 {
		word, rest = trimmed[:space], trimmed[space:]
	}
	p.Keyword, p.Value, p.HasValue = strings.Cut(word, "=")
	if !isKeyword(p.Keyword) || p.HasValue && !isValue(p.Value, smtputf8) {
		return Parameter{}, s, ErrParameter
	}
	return p, rest, nil
}

func isKeyword(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlphanumeric(s[i]) && (s[i] != '-' || i == 0) {
			return false
		}
	}
	return s != ""
}

func isValue(s string, smtputf8 bool) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == '=' || c == 0x7f || c >= utf8.RuneSelf && !smtputf8 {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

// DecodeXtext decodes xtext (RFC 3461 §4): "+" and two upper-case hexadecimal digits stand for an octet.
// QUIRK: lower-case digits are read too. Decoded control octets are refused: the text ends up in header fields and logs.
func DecodeXtext(s string) (string, error) {
	if strings.IndexByte(s, '+') < 0 {
		if !isXchars(s) {
			return "", ErrXtext
		}
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+3 > len(s) {
				return "", ErrXtext
			}
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil || n < ' ' || n == 0x7f {
				return "", ErrXtext
			}
			b = append(b, byte(n))
			i += 2
			continue
		}
		if !isXchars(s[i : i+1]) {
			return "", ErrXtext
		}
		b = append(b, c)
	}
	if !utf8.Valid(b) {
		return "", ErrXtext
	}
	return string(b), nil
}

func isXchars(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c > '~' || c == '=' {
			return false
		}
	}
	return true
}

// DecodeOrcpt decodes the value of ORCPT, "type;address" (RFC 3461 §4.2): the address is xtext, and for the type utf-8
// utf-8-addr-xtext or utf-8-addr-unitext (RFC 6533 §3), where `\x{20AC}` stands for a character.
func DecodeOrcpt(s string) (kind, address string, err error) {
	kind, address, found := strings.Cut(s, ";")
	if !found || !isKeyword(kind) || address == "" {
		return "", "", ErrXtext
	}
	if !strings.EqualFold(kind, "utf-8") {
		address, err = DecodeXtext(address)
		return kind, address, err
	}
	address, err = decodeUTF8Addr(address)
	return kind, address, err
}

func decodeUTF8Addr(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); {
		if strings.HasPrefix(s[i:], `\x{`) {
			end := strings.IndexByte(s[i:], '}')
			if end < 0 || end > len(`\x{10FFFF`) {
				return "", ErrXtext
			}
			n, err := strconv.ParseUint(s[i+3:i+end], 16, 32)
			if err != nil || !utf8.ValidRune(rune(n)) || n < ' ' || n >= 0x7f && n < 0xa0 {
				return "", ErrXtext
			}
			b.WriteRune(rune(n))
			i += end + 1
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || r <= ' ' || r >= 0x7f && r < 0xa0 || r == '=' {
			return "", ErrXtext
		}
		b.WriteString(s[i : i+n])
		i += n
	}
	return b.String(), nil
}

// ParseNotify reads the value of NOTIFY (RFC 3461 §4.1): NEVER alone, or some of SUCCESS, FAILURE, DELAY.
func ParseNotify(s string) (Notify, error) {
	var n Notify
	for word := range strings.SplitSeq(s, ",") {
		var bit Notify
		switch strings.ToUpper(word) {
		case "NEVER":
			bit = NotifyNever
		case "SUCCESS":
			bit = NotifySuccess
		case "FAILURE":
			bit = NotifyFailure
		case "DELAY":
			bit = NotifyDelay
		}
		if bit == 0 || n&bit != 0 {
			return 0, ErrParameter
		}
		n |= bit
	}
	if n&NotifyNever != 0 && n != NotifyNever {
		return 0, ErrParameter
	}
	return n, nil
}
