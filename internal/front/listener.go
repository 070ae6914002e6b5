package front

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// Listener is one listening address of a configuration.
type Listener struct {
	// Address as in "0.0.0.0:143".
	Address string `yaml:"address"`
	// ImplicitTLS begins with a TLS handshake (RFC 8314 §3); otherwise the protocol's command for TLS is offered.
	ImplicitTLS bool `yaml:"implicit_tls"`
	// Proxy says which load balancers tell the client's address. Default: none.
	Proxy Proxy `yaml:"proxy"`
}

// Validate tells all faults of the listeners under a key, naming each as "key[1].address".
func Validate(key string, listeners []Listener) error {
	var faults []error
	for i, l := range listeners {
		if _, _, err := net.SplitHostPort(l.Address); err != nil {
			faults = append(faults, fmt.Errorf("%s[%d].address: %w", key, i, err))
		}
		faults = append(faults, l.Proxy.validate(fmt.Sprintf("%s[%d].proxy", key, i)))
	}
	return errors.Join(faults...)
}

// CheckTLS tells of listeners with implicit TLS that no server's side of TLS is there for.
func CheckTLS(key string, listeners []Listener, server *tls.Config) error {
	for i, l := range listeners {
		if l.ImplicitTLS && server == nil {
			return fmt.Errorf("%s[%d]: implicit_tls without a certificate", key, i)
		}
	}
	return nil
}

// Socket is a Listener that is open.
type Socket struct {
	net.Listener
	// ImplicitTLS begins every connection with a handshake.
	ImplicitTLS bool

	proxy *policy // nil: no headers
}

// Listen is net.Listen, or what stands for it.
type Listen func(network, address string) (net.Listener, error)

// Open opens all listeners, or none: then it returns the error of the first that failed. A nil listen is net.Listen.
func Open(listen Listen, listeners []Listener) ([]Socket, error) {
	if listen == nil {
		listen = net.Listen
	}
	sockets := make([]Socket, 0, len(listeners))
	for _, l := range listeners {
		proxy, err := l.Proxy.policy("proxy")
		var opened net.Listener
		if err == nil {
			opened, err = listen("tcp", l.Address)
		}
		if err != nil {
			CloseAll(sockets)
			return nil, fmt.Errorf("listen on %s: %w", l.Address, err)
		}
		sockets = append(sockets, Socket{Listener: opened, ImplicitTLS: l.ImplicitTLS, proxy: proxy})
	}
	return sockets, nil
}

// CloseAll closes the sockets.
func CloseAll(sockets []Socket) {
	for _, s := range sockets {
		s.Close() // Closed already, at worst.
	}
}
