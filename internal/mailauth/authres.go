package mailauth

import (
	"strings"
)

// AuthResult is one result in an Authentication-Results field (RFC 8601 §2.2).
type AuthResult struct {
	// Method is "spf", "dkim", "dmarc", "auth".
	Method string
	Value  Value
	// Reason is for people, of any octets.
	Reason string
	Props  []Prop
}

// Prop is a property that a result is about.
type Prop struct {
	// Name is "smtp.mailfrom", "header.d" and so on.
	Name string
	// Value is what peers gave: any octets. An empty one is left out, and so is one that is too long, since a part of it
	// would say something else.
	Value string
}

const (
	// foldAt is where lines are folded if they can be (RFC 5322 §2.1.1).
	foldAt = 78
	// maxProp is the longest property value, octets: a mailbox (RFC 5321 §4.5.3.1).
	maxProp = 320
	// maxReason is where a reason is cut.
	maxReason = 120
)

// AppendAuthResults appends a whole Authentication-Results field, folded, with its CRLF. id is our authserv-id, a domain name.
func AppendAuthResults(dst []byte, id string, results []AuthResult) []byte {
	dst = append(dst, "Authentication-Results: "...)
	dst = append(dst, id...)
	if len(results) == 0 {
		return append(dst, "; none\r\n"...)
	}
	for _, r := range results {
		dst = append(dst, ";\r\n\t"...)
		line := len(dst) - 1
		dst = append(append(append(dst, r.Method...), '='), r.Value...)
		if r.Reason != "" {
			dst, line = appendPair(dst, line, "reason", quote(r.Reason[:min(len(r.Reason), maxReason)]))
		}
		for _, p := range r.Props {
			if p.Value != "" && len(p.Value) <= maxProp {
				dst, line = appendPair(dst, line, p.Name, pvalue(p.Value))
			}
		}
	}
	return append(dst, '\r', '\n')
}

// appendPair appends name=value, on a new line where it does not fit; line is where the current one begins.
func appendPair(dst []byte, line int, name, value string) ([]byte, int) {
	if len(dst)-line+2+len(name)+len(value) > foldAt {
		dst = append(dst, '\r', '\n', '\t')
		line = len(dst) - 1
	} else {
		dst = append(dst, ' ')
	}
	return append(append(append(dst, name...), '='), value...), line
}

// pvalue writes a property's value: a token or local-part@domain as it is, anything else in quotes.
func pvalue(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at < 0 && token(s) || at >= 0 && token(s[at+1:]) && (at == 0 || token(s[:at])) {
		return s
	}
	return quote(s)
}

// token tells whether a word needs no quotes; of the characters that RFC 2045 §5.1 allows only those that nobody misreads.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`{|}~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// quote writes a quoted string of printable ASCII; what is not becomes "?".
func quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c > '~':
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}

// AuthResult writes an SPF result as Authentication-Results has it (RFC 8601 §2.7.2). mailbox is the reverse-path.
func (r SPFResult) AuthResult(mailbox string) AuthResult {
	a := AuthResult{Method: "spf", Value: r.Value}
	if r.Value == TempError || r.Value == PermError {
		a.Reason = r.Reason
	}
	if r.Helo {
		a.Props = []Prop{{"smtp.helo", r.Domain}}
		return a
	}
	local, _, _ := cutLast(mailbox, '@')
	if !token(local) || r.Domain == "" {
		a.Props = []Prop{{"smtp.mailfrom", r.Domain}}
		return a
	}
	a.Props = []Prop{{"smtp.mailfrom", local + "@" + r.Domain}}
	return a
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// AuthResult writes a DKIM result (RFC 8601 §2.7.1).
func (r DKIMResult) AuthResult() AuthResult {
	return AuthResult{Method: "dkim", Value: r.Value, Reason: r.Reason, Props: []Prop{
		{"header.d", r.Domain}, {"header.s", r.Selector}, {"header.i", r.Identity}, {"header.a", r.Algorithm}, {"header.b", r.Signature},
	}}
}

// AuthResult writes a DMARC result (RFC 7489 §11.1), with the policy that was published as RFC 8601 §2.3 allows.
func (r DMARCResult) AuthResult() AuthResult {
	return AuthResult{Method: "dmarc", Value: r.Value, Reason: r.Reason, Props: []Prop{
		{"header.from", r.Domain}, {"policy.dmarc", string(r.Policy)},
	}}
}
