package resolve

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// Host is a host that takes mail for a domain.
type Host struct {
	// Name is to be looked up with LookupAddr, and is what its certificate is checked against.
	Name       string
	Preference uint16
	// Implicit tells that the domain has no MX record and Name is the domain itself (RFC 5321 §5.1).
	Implicit bool
	// Secure tells that the MX records were validated with DNSSEC.
	Secure bool
}

// MaxHosts is how many hosts of a domain are tried at most; RFC 5321 §5.1 asks for two at least.
const MaxHosts = 20

// MXHosts lists the hosts that take mail for a domain, in the order in which to try them: by preference, and in random order
// among equals (RFC 5321 §5.1). A domain without MX records is its own host if it has an address. Never empty without an error.
//
// Errors: ErrNullMX and ErrNotFound are final (556 5.1.10, 550 5.1.2); ErrName too; ErrTemporary: defer.
// Address literals are not names: the caller connects to them.
func (r *Resolver) MXHosts(ctx context.Context, domain string) ([]Host, error) {
	mxs, err := r.LookupMX(ctx, domain)
	if errors.Is(err, ErrNoData) {
		return r.implicit(ctx, domain)
	}
	if err != nil {
		return nil, err
	}
	hosts := make([]Host, 0, len(mxs.Records))
	for _, mx := range mxs.Records {
		if mx.Host != "" { // a null MX among others means nothing (RFC 7505 §3)
			hosts = append(hosts, Host{Name: mx.Host, Preference: mx.Preference, Secure: mxs.Secure})
		}
	}
	if len(hosts) == 0 {
		return nil, &Error{Name: domain, Type: "MX", Kind: ErrNullMX}
	}
	r.deps.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	slices.SortStableFunc(hosts, func(a, b Host) int { return cmp.Compare(a.Preference, b.Preference) })
	// The same host named twice is tried once, at its better preference.
	seen := make(map[string]bool, len(hosts))
	hosts = slices.DeleteFunc(hosts, func(h Host) bool {
		twice := seen[h.Name]
		seen[h.Name] = true
		return twice
	})
	return hosts[:min(len(hosts), MaxHosts)], nil
}

// implicit makes the domain its own host. The addresses are looked up here so that a domain that cannot take mail is told
// at once; they are in the cache when the caller asks for them.
func (r *Resolver) implicit(ctx context.Context, domain string) ([]Host, error) {
	name, err := Name(domain)
	if err != nil {
		return nil, err
	}
	addrs, err := r.LookupAddr(ctx, name)
	if err != nil {
		return nil, err
	}
	return []Host{{Name: name, Implicit: true, Secure: addrs.Secure}}, nil
}
