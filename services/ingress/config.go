package ingress

import (
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/smtpd"
)

// Config of the ingress role.
type Config struct {
	// Hostname greets, and stands in Received fields. Required.
	Hostname string `yaml:"hostname"`
	// Listeners speak SMTP, as on port 25.
	Listeners []Listener `yaml:"listeners"`
	// LMTP listeners speak LMTP; they must not be port 25 (RFC 2033 §5).
	LMTP []Listener `yaml:"lmtp"`
	// Limits and Timeouts hold for SMTP and LMTP each.
	Limits   smtpd.Limits   `yaml:"limits"`
	Timeouts smtpd.Timeouts `yaml:"timeouts"`
	// Drain is how long messages that are arriving may take to end when the role stops. Default 4s.
	Drain time.Duration `yaml:"drain"`
	// Acceptance is what happens to bodies.
	Acceptance acceptance.Config `yaml:"acceptance"`
}

// Listener is one listening address.
type Listener struct {
	// Address as in "0.0.0.0:25".
	Address string `yaml:"address"`
	// ImplicitTLS begins with a TLS handshake; otherwise STARTTLS is offered.
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
	for i, l := range c.LMTP {
		if l.Address == "" {
			faults = append(faults, fmt.Errorf("lmtp[%d].address: is empty", i))
		}
	}
	if c.Drain < 0 {
		faults = append(faults, fmt.Errorf("drain: %v is negative", c.Drain))
	}
	if err := c.Acceptance.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("acceptance: %w", err))
	}
	return errors.Join(append(faults, c.Limits.Validate(), c.Timeouts.Validate())...)
}
