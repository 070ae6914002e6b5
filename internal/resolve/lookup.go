package resolve

import (
	"context"
	"errors"
	"net/netip"

	"github.com/miekg/dns"
)

// Answer is what a look-up found: at least one record.
type Answer[T any] struct {
	// Records are shared with the cache: do not change them.
	Records []T
	// Secure tells that the resolver validated the answer with DNSSEC and that we believe it (Config.TrustAD).
	Secure bool
}

// MX is one MX record.
type MX struct {
	Preference uint16
	// Host is in lower case without a final dot; "" is the root.
	Host string
}

// LookupTXT finds the TXT records of a name, each with its strings joined.
//
// Errors of this and the other look-ups: ErrName, ErrNoDomain, ErrNoData, ErrTemporary; the last also when ctx ends.
func (r *Resolver) LookupTXT(ctx context.Context, name string) (Answer[string], error) {
	f, err := r.lookup(ctx, name, dns.TypeTXT)
	if err != nil {
		return Answer[string]{}, err
	}
	return Answer[string]{f.texts, f.secure}, nil
}

// LookupMX finds the MX records of a domain, in no order. ErrNullMX for the single record "0 ." (RFC 7505 §3).
func (r *Resolver) LookupMX(ctx context.Context, domain string) (Answer[MX], error) {
	f, err := r.lookup(ctx, domain, dns.TypeMX)
	if err != nil {
		return Answer[MX]{}, err
	}
	if len(f.mxs) == 1 && f.mxs[0].Host == "" {
		return Answer[MX]{Secure: f.secure}, &Error{Name: domain, Type: "MX", Kind: ErrNullMX}
	}
	return Answer[MX]{f.mxs, f.secure}, nil
}

// LookupA finds the IPv4 addresses of a host.
func (r *Resolver) LookupA(ctx context.Context, host string) (Answer[netip.Addr], error) {
	return r.lookupAddr(ctx, host, dns.TypeA)
}

// LookupAAAA finds the IPv6 addresses of a host.
func (r *Resolver) LookupAAAA(ctx context.Context, host string) (Answer[netip.Addr], error) {
	return r.lookupAddr(ctx, host, dns.TypeAAAA)
}

func (r *Resolver) lookupAddr(ctx context.Context, host string, qtype uint16) (Answer[netip.Addr], error) {
	f, err := r.lookup(ctx, host, qtype)
	if err != nil {
		return Answer[netip.Addr]{}, err
	}
	return Answer[netip.Addr]{f.addrs, f.secure}, nil
}

// LookupAddr finds all addresses of a host, the IPv4 ones first; both families are asked for at once.
//
// With addresses of one family and trouble with the other it returns those it has. Secure holds for all of them.
func (r *Resolver) LookupAddr(ctx context.Context, host string) (Answer[netip.Addr], error) {
	type answer struct {
		Answer[netip.Addr]
		err error
	}
	ch := make(chan answer, 1)
	go func() {
		a, err := r.LookupAAAA(ctx, host)
		ch <- answer{a, err}
	}()
	v4, err4 := r.LookupA(ctx, host)
	v6 := <-ch
	switch {
	case err4 == nil && v6.err == nil:
		all := make([]netip.Addr, 0, len(v4.Records)+len(v6.Records))
		all = append(append(all, v4.Records...), v6.Records...)
		return Answer[netip.Addr]{all, v4.Secure && v6.Secure}, nil
	case err4 == nil:
		return v4, nil
	case v6.err == nil:
		return v6.Answer, nil
	case errors.Is(err4, ErrTemporary):
		return Answer[netip.Addr]{}, err4
	}
	return Answer[netip.Addr]{}, v6.err
}

// LookupPTR finds the names of an address. They are what its holder claims: look them up in turn before believing them.
func (r *Resolver) LookupPTR(ctx context.Context, ip netip.Addr) (Answer[string], error) {
	f, err := r.lookup(ctx, reverseName(ip), dns.TypePTR)
	if err != nil {
		return Answer[string]{}, err
	}
	return Answer[string]{f.names, f.secure}, nil
}
