package remote

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mailfarm/mailfarm/internal/resolve"
)

// hosts lists where to try. Where we are one of a domain's servers, only those that it prefers to us remain: behind them the
// message would come back (RFC 5321 §5.1).
func (s *Service) hosts(ctx context.Context, group string) ([]resolve.Host, error) {
	if s.cfg.SmartHost != "" {
		name, _, _ := net.SplitHostPort(s.cfg.SmartHost)
		return []resolve.Host{{Name: name}}, nil
	}
	if addr, ok := literal(group); ok {
		return []resolve.Host{{Name: addr.String()}}, nil
	}
	hosts, err := s.deps.Resolve.MXHosts(ctx, group)
	if err != nil {
		return nil, err
	}
	own := slices.IndexFunc(hosts, func(h resolve.Host) bool {
		return strings.EqualFold(strings.TrimSuffix(h.Name, "."), strings.TrimSuffix(s.cfg.Hostname, "."))
	})
	if own < 0 {
		return hosts, nil
	}
	bound := hosts[own].Preference
	hosts = slices.DeleteFunc(slices.Clone(hosts), func(h resolve.Host) bool { return h.Preference >= bound })
	if len(hosts) == 0 {
		return nil, errLoop
	}
	return hosts, nil
}

// literal reads an address literal: [192.0.2.1], [IPv6:2001:db8::1] (RFC 5321 §4.1.3).
func literal(domain string) (netip.Addr, bool) {
	inner, ok := strings.CutPrefix(domain, "[")
	if !ok {
		return netip.Addr{}, false
	}
	if inner, ok = strings.CutSuffix(inner, "]"); !ok {
		return netip.Addr{}, false
	}
	const tag = "IPv6:"
	if len(inner) > len(tag) && strings.EqualFold(inner[:len(tag)], tag) {
		inner = inner[len(tag):]
	}
	addr, err := netip.ParseAddr(inner)
	return addr, err == nil && addr.Zone() == ""
}

// addresses finds where a host listens.
//
// QUIRK: some domains have an address where the name of their mail server belongs; it is used as it is.
func (s *Service) addresses(ctx context.Context, h resolve.Host) ([]host, error) {
	port := strconv.Itoa(s.cfg.Port)
	if s.cfg.SmartHost != "" {
		_, port, _ = net.SplitHostPort(s.cfg.SmartHost)
	}
	found := []netip.Addr{}
	if addr, err := netip.ParseAddr(h.Name); err == nil {
		found = append(found, addr)
	} else {
		answer, err := s.deps.Resolve.LookupAddr(ctx, h.Name)
		if err != nil {
			return nil, err
		}
		found = answer.Records
	}
	var hosts []host
	for _, a := range found {
		// 0.0.0.0 would be this machine, and nobody's mail server is a group of hosts.
		if !a.IsUnspecified() && !a.IsMulticast() {
			hosts = append(hosts, host{h.Name, net.JoinHostPort(a.String(), port)})
		}
	}
	if len(hosts) == 0 {
		return nil, &resolve.Error{Name: h.Name, Type: "A", Kind: resolve.ErrNoData, Detail: "no address that a mail server can have"}
	}
	return hosts, nil
}
