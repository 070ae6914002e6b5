package router

import (
	"errors"
	"fmt"
	"time"
)

const maxRecipients = 10_000

// Config of the router role.
type Config struct {
	// Batch is how many messages are routed together at most. Default 128.
	Batch int `yaml:"batch"`
	// MaxRecipients bounds what aliases make of one message. Default and most 10,000: a message goes to the ledger in one
	// call (rpc.MaxMessage, 32 MiB), and a recipient has up to 3 KiB of addresses and replies.
	MaxRecipients int `yaml:"max_recipients"`
	// MaxAliasDepth bounds aliases of aliases. Default 20.
	MaxAliasDepth int `yaml:"max_alias_depth"`
	// MaxHops is the number of Received fields from which on a message is taken to loop (RFC 5321 §6.3). Default 50.
	MaxHops int `yaml:"max_hops"`
	// GiveUpAfter is the age at which what is still deferred is bounced. RFC 5321 §4.5.4.1 asks for 4 to 5 days. Default 120h.
	GiveUpAfter time.Duration `yaml:"give_up_after"`
	// SweepAfter is when the ledger looks after work whose hint was lost. Default 1m.
	SweepAfter time.Duration `yaml:"sweep_after"`
}

// Defaults fills in what is not set.
func (c *Config) Defaults() {
	for _, d := range []struct {
		v   *int
		def int
	}{{&c.Batch, 128}, {&c.MaxRecipients, maxRecipients}, {&c.MaxAliasDepth, 20}, {&c.MaxHops, 50}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.GiveUpAfter == 0 {
		c.GiveUpAfter = 120 * time.Hour
	}
	if c.SweepAfter == 0 {
		c.SweepAfter = time.Minute
	}
}

// Validate tells all faults at once.
func (c *Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		key string
		v   int
	}{{"batch", c.Batch}, {"max_recipients", c.MaxRecipients}, {"max_alias_depth", c.MaxAliasDepth}, {"max_hops", c.MaxHops}} {
		if f.v < 1 {
			errs = append(errs, fmt.Errorf("%s: %d is below 1", f.key, f.v))
		}
	}
	if c.MaxRecipients > maxRecipients {
		errs = append(errs, fmt.Errorf("max_recipients: %d is above %d", c.MaxRecipients, maxRecipients))
	}
	if c.GiveUpAfter < time.Second {
		errs = append(errs, fmt.Errorf("give_up_after: %v is below 1s", c.GiveUpAfter))
	}
	if c.SweepAfter < time.Second {
		errs = append(errs, fmt.Errorf("sweep_after: %v is below 1s", c.SweepAfter))
	}
	return errors.Join(errs...)
}
