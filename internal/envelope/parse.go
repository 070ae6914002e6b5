package envelope

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Limits on paths, in octets.
const (
	// MaxPath is the longest path without its angle brackets and source route (RFC 5321 §4.5.3.1.3 has 256 with them).
	MaxPath = 254
	// MaxLocalPart is the longest local-part. RFC 5321 §4.5.3.1.1 asks for 64 and against limits;
	// QUIRK: senders of newsletters put 100 octets and more into VERP and SRS local-parts.
	MaxLocalPart = 128
	// MaxDomain is the longest domain (RFC 5321 §4.5.3.1.2, RFC 1035 §2.3.4).
	MaxDomain = 253
	maxLabel  = 63
)

// Errors of the parsers: texts that a peer may read.
var (
	ErrPathSyntax   = errors.New("syntax error in path")
	ErrPathTooLong  = errors.New("path too long")
	ErrLocalPart    = errors.New("syntax error in local-part")
	ErrLocalTooLong = errors.New("local-part too long")
	ErrDomain       = errors.New("syntax error in domain")
	ErrLiteral      = errors.New("unknown address literal")
	ErrNotASCII     = errors.New("address needs SMTPUTF8")
	ErrNullPath     = errors.New("null path is no recipient")
)

// ParseReversePath reads the path of MAIL from the front of s, angle brackets included, and returns what follows it
// (RFC 5321 §4.1.2). "<>" is the null reverse-path. Octets above 127 are allowed with smtputf8 only (RFC 6531 §3.3).
//
// The path comes back in its normal form: see ParseMailbox.
func ParseReversePath(s string, smtputf8 bool) (path ReversePath, rest string, err error) {
	if strings.HasPrefix(s, "<>") {
		return "", s[2:], nil
	}
	mailbox, rest, err := parsePath(s, smtputf8)
	return ReversePath(mailbox), rest, err
}

// ParseForwardPath reads the path of RCPT from the front of s as ParseReversePath does.
//
// "<postmaster>", in any case, needs no domain (RFC 5321 §4.5.1); the null path is refused.
func ParseForwardPath(s string, smtputf8 bool) (path ForwardPath, rest string, err error) {
	const postmaster = "<postmaster>"
	switch {
	case strings.HasPrefix(s, "<>"):
		return "", s, ErrNullPath
	case len(s) >= len(postmaster) && strings.EqualFold(s[:len(postmaster)], postmaster):
		return "postmaster", s[len(postmaster):], nil
	}
	mailbox, rest, err := parsePath(s, smtputf8)
	return ForwardPath(mailbox), rest, err
}

// parsePath reads "<" [source-route ":"] mailbox ">".
func parsePath(s string, smtputf8 bool) (mailbox, rest string, err error) {
	if s == "" || s[0] != '<' {
		return "", s, ErrPathSyntax
	}
	p := s[1:]
	if strings.HasPrefix(p, "@") {
		if p, err = skipRoute(p, smtputf8); err != nil {
			return "", s, err
		}
	}
	mailbox, p, err = parseMailbox(p, smtputf8)
	switch {
	case err != nil:
		return "", s, err
	case p == "" || p[0] != '>':
		return "", s, ErrPathSyntax
	}
	return mailbox, p[1:], nil
}

// skipRoute passes over a source route, which is accepted and ignored (RFC 5321 §4.1.1.3, appendix C).
func skipRoute(p string, smtputf8 bool) (string, error) {
	for {
		if p == "" || p[0] != '@' {
			return "", ErrPathSyntax
		}
		_, rest, err := parseDomain(p[1:], smtputf8)
		switch {
		case err != nil:
			return "", err
		case strings.HasPrefix(rest, ","):
			p = rest[1:]
		case strings.HasPrefix(rest, ":"):
			return rest[1:], nil
		default:
			return "", ErrPathSyntax
		}
	}
}

// ParseMailbox reads a whole local-part@domain and returns its normal form: the domain in lower case, a local-part in
// quotes only where it needs them and with no more backslashes than it needs, since `"a\b"@x`, `"ab"@x` and `ab@x` are
// one mailbox (RFC 5321 §4.1.2). The case of the local-part is kept (§2.4).
//
// Of the address literals, IPv4 and IPv6 are known (§4.1.3). The last "@" of the normal form always stands before the domain.
func ParseMailbox(s string, smtputf8 bool) (string, error) {
	mailbox, rest, err := parseMailbox(s, smtputf8)
	if err == nil && rest != "" {
		err = ErrPathSyntax
	}
	if err != nil {
		return "", err
	}
	return mailbox, nil
}

func parseMailbox(s string, smtputf8 bool) (mailbox, rest string, err error) {
	local, rest, err := parseLocalPart(s, smtputf8)
	if err != nil {
		return "", s, err
	}
	if rest == "" || rest[0] != '@' {
		return "", s, ErrPathSyntax
	}
	start := len(s) - len(rest) + 1
	domain, rest, err := parseDomain(rest[1:], smtputf8)
	if err != nil {
		return "", s, err
	}
	if len(local)+1+len(domain) > MaxPath {
		return "", s, ErrPathTooLong
	}
	end := len(s) - len(rest)
	if s[start:end] == domain && s[:start-1] == local {
		return s[:end], rest, nil // The ordinary case: already normal, nothing to copy.
	}
	return local + "@" + domain, rest, nil
}

// parseLocalPart reads a dot-string or a quoted-string and returns its normal form.
func parseLocalPart(s string, smtputf8 bool) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		return parseQuoted(s, smtputf8)
	}
	i, dot := 0, true // dot: an atom must begin here.
	for i < len(s) {
		c := s[i]
		if c == '.' {
			if dot {
				return "", s, ErrLocalPart
			}
			dot = true
			i++
			continue
		}
		n, err := textLen(s[i:], smtputf8)
		if err != nil {
			return "", s, err
		}
		if n == 1 && !isAtext(c) {
			break
		}
		dot = false
		i += n
	}
	switch {
	case dot:
		return "", s, ErrLocalPart
	case i > MaxLocalPart:
		return "", s, ErrLocalTooLong
	}
	return s[:i], s[i:], nil
}

// parseQuoted reads a quoted-string (RFC 5321 §4.1.2: qtextSMTP and quoted-pairSMTP).
func parseQuoted(s string, smtputf8 bool) (local, rest string, err error) {
	var text strings.Builder
	for i := 1; i < len(s); {
		n, err := textLen(s[i:], smtputf8)
		if err != nil {
			return "", s, err
		}
		c := s[i]
		switch {
		case c == '"':
			local = quoteLocalPart(text.String())
			if len(local) > MaxLocalPart {
				return "", s, ErrLocalTooLong
			}
			return local, s[i+1:], nil
		case c == '\\':
			if i++; i == len(s) || s[i] < ' ' || s[i] > '~' {
				return "", s, ErrLocalPart
			}
			text.WriteByte(s[i])
			i++
			continue
		case c < ' ' || c == 0x7f:
			return "", s, ErrLocalPart
		}
		text.WriteString(s[i : i+n])
		i += n
	}
	return "", s, ErrLocalPart
}

// quoteLocalPart is the normal form of a local-part with this meaning.
func quoteLocalPart(text string) string {
	if isDotString(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text) + 2)
	b.WriteByte('"')
	for i := 0; i < len(text); i++ {
		if text[i] == '"' || text[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	b.WriteByte('"')
	return b.String()
}

// isDotString tells whether text needs no quotes.
func isDotString(text string) bool {
	dot := true
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '.':
			if dot {
				return false
			}
			dot = true
		case isAtext(c) || c >= utf8.RuneSelf:
			dot = false
		default:
			return false
		}
	}
	return !dot
}

// textLen is the length of the character s begins with: 1, or that of a valid UTF-8 character that is no control.
func textLen(s string, smtputf8 bool) (int, error) {
	if s[0] < utf8.RuneSelf {
		return 1, nil
	}
	if !smtputf8 {
		return 0, ErrNotASCII
	}
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n == 1 || r < 0xa0 {
		return 0, ErrPathSyntax
	}
	return n, nil
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// isAtext is RFC 5322 §3.2.3, for ASCII.
func isAtext(c byte) bool {
	return isAlphanumeric(c) || c > ' ' && c < 0x7f && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}
