package submission

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/smtpd"
)

// Config of the submission role.
type Config struct {
	// Hostname greets, and stands in Received fields and in Message-IDs that are added. Required.
	Hostname string `yaml:"hostname"`
	// Listeners are where users connect: as on port 587, and with implicit TLS as on port 465.
	Listeners []Listener `yaml:"listeners"`
	// PlaintextNetworks are the client networks that may log in without TLS, as "127.0.0.0/8". Default none.
	PlaintextNetworks []string       `yaml:"plaintext_networks"`
	Limits            smtpd.Limits   `yaml:"limits"`
	Timeouts          smtpd.Timeouts `yaml:"timeouts"`
	// Drain is how long messages that are arriving may take to end when the role stops. Default 4s.
	Drain time.Duration `yaml:"drain"`
	// Acceptance is what happens to bodies.
	Acceptance acceptance.Config `yaml:"acceptance"`
}

// Listener is one listening address.
type Listener struct {
	// Address as in "0.0.0.0:587".
	Address string `yaml:"address"`
	// ImplicitTLS begins with a TLS handshake (RFC 8314 §3.3); otherwise STARTTLS is offered.
	ImplicitTLS bool `yaml:"implicit_tls"`
}

// Defaults fills in what is not set.
func (c *Config) Defaults() {
	c.Limits = c.Limits.WithDefaults()
	c.Timeouts = c.Timeouts.WithDefaults()
	if c.Drain == 0 {
		c.Drain = 4 * time.Second
	}
	c.Acceptance.Defaults()
}

// Validate tells all faults at once.
func (c *Config) Validate() error {
	var faults []error
	if c.Hostname == "" {
		faults = append(faults, errors.New("hostname: is empty"))
	}
	for i, l := range c.Listeners {
		if l.Address == "" {
			faults = append(faults, fmt.Errorf("listeners[%d].address: is empty", i))
		}
	}
	if _, err := c.plaintextNetworks(); err != nil {
		faults = append(faults, err)
	}
	if c.Drain < 0 {
		faults = append(faults, fmt.Errorf("drain: %v is negative", c.Drain))
	}
	if err := c.Acceptance.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("acceptance: %w", err))
	}
	return errors.Join(append(faults, c.Limits.Validate(), c.Timeouts.Validate())...)
}

func (c *Config) plaintextNetworks() ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for i, text := range c.PlaintextNetworks {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("plaintext_networks[%d]: %q is no network such as 127.0.0.0/8", i, text)
		}
		networks = append(networks, p.Masked())
	}
	return networks, nil
}
