package store

import (
	"errors"
	"fmt"
	"time"
)

// Config of the store role.
type Config struct {
	// MaxMessageBytes bounds one appended message, octets. Default 67108864 (64 MiB), as APPENDLIMIT of the imap role.
	MaxMessageBytes int64 `yaml:"max_message_bytes"`
	// MaxAppend is how many messages one APPEND may carry (RFC 3502). Default 1000.
	MaxAppend int `yaml:"max_append"`
	// SnapshotTime is how long a reader may take over one snapshot, which keeps the database from forgetting what it
	// replaced meanwhile. Default 1m.
	SnapshotTime time.Duration `yaml:"snapshot_time"`
}

// Default fills in what is not set.
func (c *Config) Default() {
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = 64 << 20
	}
	if c.MaxAppend == 0 {
		c.MaxAppend = 1000
	}
	if c.SnapshotTime == 0 {
		c.SnapshotTime = time.Minute
	}
}

// Validate tells all faults at once.
func (c *Config) Validate() error {
	var errs []error
	if c.MaxMessageBytes < 1 {
		errs = append(errs, fmt.Errorf("store.max_message_bytes: %d is not positive", c.MaxMessageBytes))
	}
	if c.MaxAppend < 1 {
		errs = append(errs, fmt.Errorf("store.max_append: %d is not positive", c.MaxAppend))
	}
	if c.SnapshotTime < time.Second {
		errs = append(errs, fmt.Errorf("store.snapshot_time: %v is less than 1s", c.SnapshotTime))
	}
	return errors.Join(errs...)
}
