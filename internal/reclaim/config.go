package reclaim

import (
	"errors"
	"fmt"
	"time"
)

// Config of the worker.
type Config struct {
	// Off keeps the worker from condemning, copying and removing anything. Default false.
	Off bool `yaml:"off"`
	// Every is how often all segments are looked through. Default 12h.
	Every time.Duration `yaml:"every"`
	// Wait is longer than any transaction or RPC may last: no younger segment is looked at, and what was condemned is looked
	// at again after it. Default 1h.
	Wait time.Duration `yaml:"wait"`
	// RestoreWindow is how old a copy of the database may be for a restore to find every body that it names: nothing is
	// removed before it lay dead for so long. Default 48h: yesterday's backup, and the one before it.
	RestoreWindow time.Duration `yaml:"restore_window"`
	// LiveBelow is the share of a segment, percent, below which what lives in it is copied so that the segment can go. Lower
	// values keep more dead room, higher ones copy more. Default 50.
	LiveBelow int `yaml:"live_below"`
	// RewriteRate bounds how fast frames are copied, octets a second. Default 16777216 (16 MiB).
	RewriteRate int64 `yaml:"rewrite_rate"`
	// Batch is how many segments are looked at between two looks at the lease. Default 32.
	Batch int `yaml:"batch"`
}

// Default fills in what is not set.
func (c *Config) Default() {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&c.Every, 12 * time.Hour}, {&c.Wait, time.Hour}, {&c.RestoreWindow, 48 * time.Hour}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.LiveBelow == 0 {
		c.LiveBelow = 50
	}
	if c.RewriteRate == 0 {
		c.RewriteRate = 16 << 20
	}
	if c.Batch == 0 {
		c.Batch = 32
	}
}

// Validate tells all faults at once.
func (c *Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"every", c.Every}, {"wait", c.Wait}, {"restore_window", c.RestoreWindow}} {
		if d.v < time.Second {
			errs = append(errs, fmt.Errorf("%s: %v is below 1s", d.name, d.v))
		}
	}
	if c.RestoreWindow < c.Wait {
		errs = append(errs, fmt.Errorf("restore_window: %v is below wait, %v", c.RestoreWindow, c.Wait))
	}
	if c.LiveBelow < 1 || c.LiveBelow > 95 {
		errs = append(errs, fmt.Errorf("live_below: %d is not between 1 and 95 percent", c.LiveBelow))
	}
	if c.RewriteRate < 1 {
		errs = append(errs, fmt.Errorf("rewrite_rate: %d is not positive", c.RewriteRate))
	}
	if c.Batch < 1 || c.Batch > 10_000 {
		errs = append(errs, fmt.Errorf("batch: %d is not between 1 and 10000", c.Batch))
	}
	return errors.Join(errs...)
}
