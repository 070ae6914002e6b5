package local

import (
	"errors"
	"fmt"
	"time"
)

// Config of the role delivery-local.
type Config struct {
	// Batch is how many recipients are delivered together at most. Default 128.
	Batch int `yaml:"batch"`
	// Retry lists the waits before a recipient whose mailbox is full or broken is tried again; the last repeats.
	// Default 1m, 5m, 15m, 1h.
	Retry []time.Duration `yaml:"retry"`
	// DelayNoticeAfter is the age at which the sender is told, once, that a message is late; negative: never. Default 4h.
	DelayNoticeAfter time.Duration `yaml:"delay_notice_after"`
	// JunkFolder files what the filter calls junk in the mailbox with the special use \Junk. Default true.
	JunkFolder *bool `yaml:"junk_folder"`
}

// Defaults fills in what is not set.
func (c *Config) Defaults() {
	if c.Batch == 0 {
		c.Batch = 128
	}
	if len(c.Retry) == 0 {
		c.Retry = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}
	}
	if c.DelayNoticeAfter == 0 {
		c.DelayNoticeAfter = 4 * time.Hour
	}
	if c.JunkFolder == nil {
		yes := true
		c.JunkFolder = &yes
	}
}

// Validate tells all faults at once.
func (c *Config) Validate() error {
	var errs []error
	if c.Batch < 1 || c.Batch > 1000 {
		errs = append(errs, fmt.Errorf("batch: %d is not between 1 and 1000", c.Batch))
	}
	for i, d := range c.Retry {
		if d < time.Second {
			errs = append(errs, fmt.Errorf("retry[%d]: %v is below 1s", i, d))
		}
	}
	return errors.Join(errs...)
}

// wait is how long after the given number of attempts the next one is due.
func (c *Config) wait(attempts uint32) time.Duration {
	return c.Retry[min(int(attempts), len(c.Retry)-1)]
}
