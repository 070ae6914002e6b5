package resolve

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Limits of what is kept of an answer.
const (
	// maxLinks is how many CNAMEs are followed.
	maxLinks = 8
	// maxRecords is how many records of an answer are kept; a mail domain has a handful.
	maxRecords = 256
)

var errChain = errors.New("CNAME chain is too long or a loop")

// chain reads the answers to a question, along CNAMEs.
type chain struct {
	// key is what to ask next.
	key key
	// asked is the question as the caller put it.
	asked  key
	links  int
	secure bool
	// ttl is the shortest of all records used.
	ttl time.Duration
}

func newChain(k key) *chain {
	return &chain{key: k, asked: k, secure: true, ttl: 1<<63 - 1}
}

// read takes what it can from an answer; nil is a chain that goes on: ask for key.
func (c *chain) read(msg *dns.Msg, trusted bool) (*found, error) {
	c.secure = c.secure && trusted && msg.AuthenticatedData
	f := &found{secure: c.secure}
	moved := false
	for {
		if c.collect(f, msg.Answer) {
			return f, nil
		}
		target, ok := c.alias(msg.Answer)
		if !ok {
			break
		}
		if c.links++; c.links > maxLinks {
			return nil, errChain
		}
		moved = true
		c.key.name = target
	}
	ttl, soa := negativeTTL(msg.Ns)
	switch {
	case msg.Rcode == dns.RcodeNameError:
		f.err = c.asked.fail(ErrNoDomain, "")
	case moved && !soa:
		return nil, nil // the server does not know the target, or did not look
	default:
		f.err = c.asked.fail(ErrNoData, "")
	}
	c.ttl = min(c.ttl, ttl)
	return f, nil
}

// alias finds the CNAME of the name that is being looked for.
func (c *chain) alias(rrs []dns.RR) (string, bool) {
	for _, rr := range rrs {
		if cn, ok := rr.(*dns.CNAME); ok && sameName(cn.Hdr.Name, c.key.name) {
			target, err := Name(cn.Target)
			if err != nil {
				return "", false
			}
			c.lower(cn.Hdr.Ttl)
			return target, true
		}
	}
	return "", false
}

// collect takes the records of the name and type that are being looked for.
func (c *chain) collect(f *found, rrs []dns.RR) bool {
	n := 0
	for _, rr := range rrs {
		h := rr.Header()
		if h.Rrtype != c.key.qtype || h.Class != dns.ClassINET || !sameName(h.Name, c.key.name) {
			continue
		}
		if n++; n > maxRecords {
			break
		}
		c.lower(h.Ttl)
		f.add(rr)
	}
	return n > 0
}

func (f *found) add(rr dns.RR) {
	switch rr := rr.(type) {
	case *dns.TXT:
		f.texts = append(f.texts, unescape(strings.Join(rr.Txt, "")))
	case *dns.MX:
		f.mxs = append(f.mxs, MX{Preference: rr.Preference, Host: hostOf(rr.Mx)})
	case *dns.A:
		if ip, ok := netip.AddrFromSlice(rr.A); ok {
			f.addrs = append(f.addrs, ip.Unmap())
		}
	case *dns.AAAA:
		if ip, ok := netip.AddrFromSlice(rr.AAAA); ok {
			f.addrs = append(f.addrs, ip)
		}
	case *dns.PTR:
		f.names = append(f.names, hostOf(rr.Ptr))
	}
}

func (c *chain) lower(ttl uint32) { c.ttl = min(c.ttl, seconds(ttl)) }

// seconds reads a TTL; one with the top bit set counts as 0 (RFC 2181 §8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// negativeTTL is how long an absence may be kept: the lesser of the SOA's TTL and its MINIMUM (RFC 2308 §5).
func negativeTTL(ns []dns.RR) (time.Duration, bool) {
	for _, rr := range ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return seconds(min(soa.Hdr.Ttl, soa.Minttl)), true
		}
	}
	return 0, false
}

func sameName(fqdn, name string) bool {
	return strings.EqualFold(strings.TrimSuffix(fqdn, "."), name)
}

// hostOf is a name from an answer, in lower case and without the final dot; the root is "".
func hostOf(fqdn string) string { return strings.ToLower(strings.TrimSuffix(fqdn, ".")) }

// unescape undoes the text form in which the library gives TXT strings: \" \\ and \DDD.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		if i++; i+2 < len(s) && digit(s[i]) && digit(s[i+1]) && digit(s[i+2]) {
			b = append(b, (s[i]-'0')*100+(s[i+1]-'0')*10+s[i+2]-'0')
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
