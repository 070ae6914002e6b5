package acceptance

import (
	"errors"
	"fmt"
	"time"
)

// Config of acceptance; the same keys for ingress and submission.
type Config struct {
	// MaxHops is the number of Received fields from which on a message is taken to loop (RFC 5321 §6.3). Default 50.
	MaxHops int `yaml:"max_hops"`
	// FilterTimeout is how long after the last octet a verdict is waited for; without one the message goes to the filter
	// by the bus. Time lost by a filter that is slow to take the octets is bounded by the same again. Default 3s.
	FilterTimeout time.Duration `yaml:"filter_timeout"`
	// CommitTimeout is how long a body may take to become durable; its outcome is unknown then (451). Default 1m.
	CommitTimeout time.Duration `yaml:"commit_timeout"`
	// PublishTimeout is how long the bus may take for one batch. Default 2s.
	PublishTimeout time.Duration `yaml:"publish_timeout"`
	// Backlog is how many accepted messages may wait for the bus in this process; from there on messages are deferred
	// with 451 4.3.0. Default 100000.
	Backlog int `yaml:"backlog"`
	// OverQuota is what is said to a recipient whose mailbox is full: "defer" (452 4.2.2) or "reject" (552 5.2.2), so that
	// the sender hears of it at once. Default defer.
	OverQuota string `yaml:"over_quota"`
}

// Defaults fills in what is not set.
func (c *Config) Defaults() {
	setDefault(&c.MaxHops, 50)
	setDefault(&c.FilterTimeout, 3*time.Second)
	setDefault(&c.CommitTimeout, time.Minute)
	setDefault(&c.PublishTimeout, 2*time.Second)
	setDefault(&c.Backlog, 100_000)
	setDefault(&c.OverQuota, OverQuotaDefer)
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Validate tells all faults at once.
func (c *Config) Validate() error {
	var faults []error
	for _, f := range []struct {
		key   string
		value int
	}{{"max_hops", c.MaxHops}, {"backlog", c.Backlog}} {
		if f.value < 1 {
			faults = append(faults, fmt.Errorf("%s: %d is below 1", f.key, f.value))
		}
	}
	for _, f := range []struct {
		key   string
		value time.Duration
	}{{"filter_timeout", c.FilterTimeout}, {"commit_timeout", c.CommitTimeout}, {"publish_timeout", c.PublishTimeout}} {
		if f.value <= 0 {
			faults = append(faults, fmt.Errorf("%s: %v is not positive", f.key, f.value))
		}
	}
	if c.OverQuota != OverQuotaDefer && c.OverQuota != OverQuotaReject {
		faults = append(faults, fmt.Errorf("over_quota: %q is neither %s nor %s", c.OverQuota, OverQuotaDefer, OverQuotaReject))
	}
	return errors.Join(faults...)
}
