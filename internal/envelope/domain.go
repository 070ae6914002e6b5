package envelope

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// parseDomain reads a domain or an address literal and returns it in lower case.
func parseDomain(s string, smtputf8 bool) (domain, rest string, err error) {
	if strings.HasPrefix(s, "[") {
		return parseLiteral(s)
	}
	i, label := 0, 0 // label: where the label at i begins.
	for ; i < len(s); i++ {
		c := s[i]
		if c == '.' {
			if !isLabel(s[label:i]) {
				return "", s, ErrDomain
			}
			label = i + 1
			continue
		}
		if c >= utf8.RuneSelf {
			n, err := textLen(s[i:], smtputf8)
			if err != nil {
				return "", s, err
			}
			i += n - 1
			continue
		}
		if !isAlphanumeric(c) && c != '-' && c != '_' {
			break
		}
	}
	switch {
	case !isLabel(s[label:i]):
		return "", s, ErrDomain
	case i > MaxDomain:
		return "", s, ErrPathTooLong
	}
	return strings.ToLower(s[:i]), s[i:], nil
}

// isLabel tells whether octets that parseDomain allows make a label (RFC 5321 §4.1.2: sub-domain).
// QUIRK: hosts of Windows networks have underscores in their names.
func isLabel(label string) bool {
	return label != "" && len(label) <= maxLabel && label[0] != '-' && label[len(label)-1] != '-'
}

// parseLiteral reads "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 §4.1.3).
func parseLiteral(s string) (domain, rest string, err error) {
	end := strings.IndexByte(s, ']')
	if end < 0 {
		return "", s, ErrDomain
	}
	text, six := s[1:end], false
	const tag = "IPv6:"
	if len(text) > len(tag) && strings.EqualFold(text[:len(tag)], tag) {
		text, six = text[len(tag):], true
	}
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil || addr.Zone() != "" || addr.Is4() == six:
		return "", s, ErrLiteral
	case six:
		return "[IPv6:" + addr.String() + "]", s[end+1:], nil
	}
	return "[" + addr.String() + "]", s[end+1:], nil
}

// IsHeloName tells whether an argument of EHLO is a domain or an address literal that may stand in a Received field.
func IsHeloName(s string) bool {
	_, rest, err := parseDomain(s, false)
	return err == nil && rest == ""
}

// IsLiteral tells whether the domain is an address literal.
func (p ForwardPath) IsLiteral() bool { return strings.HasSuffix(string(p), "]") }
