// Package mailauth tells who a message is from: SPF (RFC 7208), DKIM (RFC 6376, 8301, 8463) and DMARC (RFC 7489), and writes
// what it found as an Authentication-Results field (RFC 8601).
//
// Everything works on one pass over the message while it arrives. A Header takes the octets up to the blank line, notes the
// fields and which of them pretend to come from us. Then key and policy look-ups run while the body goes through the hashes
// of a DKIM, which costs nothing for a message without a signature. Every cost is bounded: header octets and fields,
// signatures, size of keys, look-ups.
//
// Fields by which a message is judged are found wherever they stand, and what goes beyond the bounds is told
// (Header.Unjudged, Authors.TooMany): no policy is escaped by padding.
//
// Trouble with the DNS is a result (TempError), never an error. Look-ups end with the context they were begun with.
//
// DKIM is verified here and not by go-msgauth, which serves the tests as the other side: its body canonicalization keeps
// runs of line ends in memory and copies them again at every write, its header reader is quadratic in continuation lines,
// and several signatures mean a goroutine, a pipe and a hash each.
//
// ARC (RFC 8617) has its place beside DKIM: an ARC-Message-Signature is verified with the same tags, canonicalizations and
// hashes; the chain comes with the feature.
package mailauth

import (
	"context"
	"net/netip"

	"github.com/mailfarm/mailfarm/internal/resolve"
)

// Value is the result of a method, as Authentication-Results writes it (RFC 8601 §2.7).
type Value string

// Values. Not every method has all of them.
const (
	None      Value = "none"
	Pass      Value = "pass"
	Fail      Value = "fail"
	SoftFail  Value = "softfail"
	Neutral   Value = "neutral"
	Policy    Value = "policy"
	TempError Value = "temperror"
	PermError Value = "permerror"
)

// Resolver is what is asked of the DNS; *resolve.Resolver is one.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) (resolve.Answer[string], error)
	LookupMX(ctx context.Context, domain string) (resolve.Answer[resolve.MX], error)
	LookupA(ctx context.Context, host string) (resolve.Answer[netip.Addr], error)
	LookupAAAA(ctx context.Context, host string) (resolve.Answer[netip.Addr], error)
	LookupPTR(ctx context.Context, ip netip.Addr) (resolve.Answer[string], error)
}
