package submission

import (
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/smtpd"
)

// Config of the submission role.
type Config struct {
	// Hostname greets, and stands in Received fields and in Message-IDs that are added. Required.
	Hostname string `yaml:"hostname"`
	// Listeners are where users connect: as on port 587, and with implicit TLS as on port 465.
	Listeners []front.Listener `yaml:"listeners"`
	// PlaintextNetworks are the client networks that may log in without TLS, as "127.0.0.0/8". Default none.
	PlaintextNetworks []string       `yaml:"plaintext_networks"`
	Limits            smtpd.Limits   `yaml:"limits"`
	Timeouts          smtpd.Timeouts `yaml:"timeouts"`
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
	_, err := c.plaintext()
	faults = append(faults, front.Validate("listeners", c.Listeners), err)
	if c.Drain < 0 {
		faults = append(faults, fmt.Errorf("drain: %v is negative", c.Drain))
	}
	if err := c.Acceptance.Validate(); err != nil {
		faults = append(faults, fmt.Errorf("acceptance: %w", err))
	}
	return errors.Join(append(faults, c.Limits.Validate(), c.Timeouts.Validate())...)
}

// plaintext parses PlaintextNetworks.
func (c *Config) plaintext() (front.Networks, error) {
	return front.ParseNetworks("plaintext_networks", c.PlaintextNetworks)
}
