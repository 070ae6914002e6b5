package front

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Networks are networks that clients come from, such as those that may log in without TLS.
type Networks []netip.Prefix

// ParseNetworks reads networks as "127.0.0.0/8". Its error tells all faults, naming each as "key[1]"; with one, the networks
// are those that could be read.
func ParseNetworks(key string, texts []string) (Networks, error) {
	var networks Networks
	var faults []error
	for i, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s[%d]: %q is no network such as 127.0.0.0/8", key, i, text))
			continue
		}
		networks = append(networks, p.Masked())
	}
	return networks, errors.Join(faults...)
}

// Contain tells whether addr is in one of the networks; the zero Addr is in none.
func (n Networks) Contain(addr netip.Addr) bool {
	for _, p := range n {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// ClientOf is the IP address at the other end, without a zone, and IPv4 as such also on a socket of IPv6; the zero Addr for
// a connection that has none.
func ClientOf(nc net.Conn) netip.Addr {
	if a, ok := nc.RemoteAddr().(interface{ AddrPort() netip.AddrPort }); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// Subscriber is what stands for a client when connections are counted: an IPv4 address, or the /64 network of an IPv6
// address, for who has one of those has all of it.
func Subscriber(client netip.Addr) netip.Addr {
	if client.Is6() {
		if p, err := client.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return client
}
