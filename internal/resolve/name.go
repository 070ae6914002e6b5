package resolve

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
)

// Limits of a domain name in text form, without the final dot (RFC 1035 §2.3.4).
const (
	maxName  = 253
	maxLabel = 63
)

// toASCII maps U-labels as a user would write them; the rules for host names are left to checkASCII, as "_dmarc" is a name too.
var toASCII = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.StrictDomainName(false))

// Name brings a domain name into the form in which it is asked for and compared: A-labels (RFC 5890), lower case, no final dot.
// ErrName for what is no domain name.
func Name(name string) (string, error) {
	n := strings.TrimSuffix(name, ".")
	if !isASCII(n) {
		if len(n) > 4*maxName {
			return "", fmt.Errorf("%w: %d octets", ErrName, len(n))
		}
		a, err := toASCII.ToASCII(n)
		if err != nil {
			return "", fmt.Errorf("%w: %q: %v", ErrName, name, err)
		}
		n = a
	}
	if !checkASCII(n) {
		if len(name) > maxName {
			name = name[:maxName]
		}
		return "", fmt.Errorf("%w: %q", ErrName, name)
	}
	return strings.ToLower(n), nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// checkASCII wants labels of 1 to 63 octets. Beside letters, digits, hyphen and underscore it lets pass the other characters
// that SPF macros bring in from local-parts (RFC 7208 §7.3) and that need no escape in text form.
func checkASCII(n string) bool {
	if n == "" || len(n) > maxName {
		return false
	}
	label := 0
	for i := range len(n) {
		c := n[i]
		switch {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
			continue
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		case strings.IndexByte("+=/!#%&*?^~{|}:", c) >= 0:
		default:
			return false
		}
		if label++; label > maxLabel {
			return false
		}
	}
	return label > 0
}

// reverseName is where an address's PTR records are (RFC 1035 §3.5, RFC 3596 §2.5).
func reverseName(ip netip.Addr) string {
	ip = ip.Unmap()
	const hex = "0123456789abcdef"
	var b strings.Builder
	if ip.Is4() {
		a := ip.As4()
		fmt.Fprintf(&b, "%d.%d.%d.%d.in-addr.arpa", a[3], a[2], a[1], a[0])
		return b.String()
	}
	a := ip.As16()
	for i := len(a) - 1; i >= 0; i-- {
		b.Write([]byte{hex[a[i]&15], '.', hex[a[i]>>4], '.'})
	}
	b.WriteString("ip6.arpa")
	return b.String()
}
