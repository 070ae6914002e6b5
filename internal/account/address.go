package account

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Bounds of an address, octets (RFC 5321 §4.5.3.1). The local-part's 64 are asked of our own addresses only: others are
// known to write longer ones.
const (
	MaxLocalLen   = 64
	MaxDomainLen  = 255
	MaxAddressLen = 512
)

// ErrAddress is the error for text that is no address, domain or local-part; what wraps it says why.
var ErrAddress = errors.New("not an address")

// Address is an address taken apart: two spellings of one mailbox are equal.
type Address struct {
	// Local is the local-part without quotes, in NFC and lower case: here its case does not count.
	Local string
	// Domain is in lower case, its labels as Unicode (U-labels, NFC), or a literal in brackets.
	Domain string
}

// ParseAddress reads local-part@domain as RFC 5321 §4.1.2 and RFC 6531 write it, without angle brackets.
func ParseAddress(s string) (Address, error) {
	if len(s) > MaxAddressLen {
		return Address{}, fmt.Errorf("%w: longer than %d octets", ErrAddress, MaxAddressLen)
	}
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return Address{}, fmt.Errorf("%w: it has no @", ErrAddress)
	}
	local, err := ParseLocal(s[:at])
	if err != nil {
		return Address{}, err
	}
	domain, err := ParseDomain(s[at+1:])
	if err != nil {
		return Address{}, err
	}
	return Address{Local: local, Domain: domain}, nil
}

// String writes the address so that ParseAddress reads it; this is how addresses are stored.
func (a Address) String() string { return quoteLocal(a.Local) + "@" + a.Domain }

// Detail cuts the local-part at the first of delimiters behind its first character: "alice+lists" is "alice" with the
// detail "lists". found is false where there is nothing to cut.
func (a Address) Detail(delimiters string) (base Address, detail string, found bool) {
	if len(a.Local) < 2 || delimiters == "" {
		return a, "", false
	}
	_, first := utf8.DecodeRuneInString(a.Local)
	i := strings.IndexAny(a.Local[first:], delimiters)
	if i < 0 {
		return a, "", false
	}
	i += first
	_, width := utf8.DecodeRuneInString(a.Local[i:])
	return Address{Local: a.Local[:i], Domain: a.Domain}, a.Local[i+width:], true
}

// ParseLocal reads a local-part: a dot-atom or a quoted string. What others wrote with dots in odd places ("a..b",
// "a.") is taken as it is: it names a mailbox somewhere.
func ParseLocal(s string) (string, error) {
	if s == "" {
		return "", fmt.Errorf("%w: the local-part is empty", ErrAddress)
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%w: the local-part is not UTF-8", ErrAddress)
	}
	if s[0] == '"' {
		content, err := unquote(s)
		if err != nil {
			return "", err
		}
		return fold(content), nil
	}
	for i := 0; i < len(s); i++ {
		if !isAtext(s[i]) && s[i] != '.' {
			return "", fmt.Errorf("%w: the local-part has a character that must be quoted", ErrAddress)
		}
	}
	return fold(s), nil
}

// unquote reads a quoted-string (RFC 5321 §4.1.2: qtextSMTP and quoted-pairSMTP, printable only).
func unquote(s string) (string, error) {
	if len(s) < 3 || s[len(s)-1] != '"' {
		return "", fmt.Errorf("%w: the quoted local-part is empty or not closed", ErrAddress)
	}
	in := s[1 : len(s)-1]
	var b strings.Builder
	b.Grow(len(in))
	for i := 0; i < len(in); i++ {
		c := in[i]
		switch {
		case c == '\\':
			i++
			if i == len(in) || in[i] < 0x20 || in[i] > 0x7e {
				return "", fmt.Errorf("%w: the quoted local-part ends in a backslash or quotes a control character", ErrAddress)
			}
			c = in[i]
		case c == '"' || c < 0x20 || c == 0x7f:
			return "", fmt.Errorf("%w: the quoted local-part has a quote or control character inside", ErrAddress)
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// fold makes spellings equal that name one mailbox here.
func fold(local string) string {
	for i := 0; i < len(local); i++ {
		if local[i] >= utf8.RuneSelf {
			return norm.NFC.String(strings.ToLower(norm.NFC.String(local)))
		}
	}
	return strings.ToLower(local)
}

// quoteLocal writes a local-part, in quotes where it needs them.
func quoteLocal(local string) string {
	if local != "" && isAtextOrDots(local) {
		return local
	}
	var b strings.Builder
	b.Grow(len(local) + 2)
	b.WriteByte('"')
	for i := 0; i < len(local); i++ {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}

func isAtextOrDots(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAtext(s[i]) && s[i] != '.' {
			return false
		}
	}
	return true
}

// isAtext is atext of RFC 5322 §3.2.3 with RFC 6531 §3.3: every octet of UTF-8 above ASCII.
func isAtext(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= utf8.RuneSelf:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// toUnicode reads A-labels and U-labels alike (RFC 5891 §5).
var toUnicode = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))

// ParseDomain reads a domain, with A-labels or U-labels, or an address literal in brackets. A dot at its end is dropped.
func ParseDomain(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	if s == "" {
		return "", fmt.Errorf("%w: the domain is empty", ErrAddress)
	}
	if len(s) > MaxDomainLen {
		return "", fmt.Errorf("%w: the domain is longer than %d octets", ErrAddress, MaxDomainLen)
	}
	if s[0] == '[' {
		return parseLiteral(s)
	}
	lower := strings.ToLower(s)
	if !isASCII(lower) || strings.HasPrefix(lower, "xn--") || strings.Contains(lower, ".xn--") {
		if !utf8.ValidString(s) {
			return "", fmt.Errorf("%w: the domain is not UTF-8", ErrAddress)
		}
		// By way of its A-labels, so that what does not survive the round trip is refused.
		ascii, err := toUnicode.ToASCII(s)
		if err != nil || len(ascii) > MaxDomainLen {
			return "", fmt.Errorf("%w: the domain is no international domain name", ErrAddress)
		}
		if lower, err = toUnicode.ToUnicode(ascii); err != nil {
			return "", fmt.Errorf("%w: the domain is no international domain name", ErrAddress)
		}
		lower = norm.NFC.String(lower)
	}
	for label := range strings.SplitSeq(lower, ".") {
		if err := checkLabel(label); err != nil {
			return "", err
		}
	}
	return lower, nil
}

// checkLabel wants letters, digits and hyphens, and an underscore too, which some hosts have.
func checkLabel(label string) error {
	if label == "" || len(label) > 63 && isASCII(label) {
		return fmt.Errorf("%w: the domain has an empty or over-long label", ErrAddress)
	}
	if label[0] == '-' || label[len(label)-1] == '-' {
		return fmt.Errorf("%w: a label of the domain begins or ends with a hyphen", ErrAddress)
	}
	for _, r := range label {
		if r < utf8.RuneSelf && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' ||
			r >= utf8.RuneSelf && !unicode.IsPrint(r) && !unicode.Is(unicode.Join_Control, r) {
			return fmt.Errorf("%w: the domain has a character that no domain has", ErrAddress)
		}
	}
	return nil
}

// parseLiteral reads "[192.0.2.1]" or "[IPv6:…]" (RFC 5321 §4.1.3) without looking inside: it is never one of our domains.
func parseLiteral(s string) (string, error) {
	if len(s) < 3 || s[len(s)-1] != ']' {
		return "", fmt.Errorf("%w: the address literal is empty or not closed", ErrAddress)
	}
	for i := 1; i < len(s)-1; i++ {
		if s[i] <= 0x20 || s[i] >= 0x7f || s[i] == '[' || s[i] == ']' || s[i] == '\\' {
			return "", fmt.Errorf("%w: the address literal has a character that it must not have", ErrAddress)
		}
	}
	return strings.ToLower(s), nil
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
