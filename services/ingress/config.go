package ingress

import (
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/smtpd"
)

// Config of the ingress role.
type Config struct {
	// Hostname greets, and stands in Received fields. Required.
	Hostname string `yaml:"hostname"`
	// Listeners speak SMTP, as on port 25.
	Listeners []front.Listener `yaml:"listeners"`
	// LMTP listeners speak LMTP; they must not be port 25 (RFC 2033 §5).
	LMTP []front.Listener `yaml:"lmtp"`
	// Limits and Timeouts hold for SMTP and LMTP each.
	Limits   smtpd.Limits   `yaml:"limits"`
	Timeouts smtpd.Timeouts `yaml:"timeouts"`
	// Drain is how long messages that are arriving may take to end when the role stops. Default 4s.
	Drain time.Duration `yaml:"drain"`
	// Acceptance is what happens to bodies.
	Acceptance acceptance.Config `yaml:"acceptance"`
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
	faults = append(faults, front.Validate("listeners", c.Listeners), front.Validate("lmtp", c.LMTP))
	if c.Drain < 0 {
		faults = append(faults, fmt.Errorf("drain: %v is negative", c.Drain))
	}
	if err := c.Acceptance.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("acceptance: %w", err))
	}
	return errors.Join(append(faults, c.Limits.Validate(), c.Timeouts.Validate())...)
}
