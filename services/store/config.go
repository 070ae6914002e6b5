package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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
	// ExpungedRetention is for how long what was expunged is kept, for undelete and for clients that come back (QRESYNC);
	// after it, bodies that nothing else refers to are given back. Default 336h (14 days).
	ExpungedRetention time.Duration `yaml:"expunged_retention"`
	// Quota is for accounts that have no limits of their own: `mailfarm quota set` gives them.
	Quota QuotaConfig `yaml:"quota"`
	// Retention says more of how long what was removed is kept.
	Retention RetentionConfig `yaml:"retention"`
	// Expire are rules by which folders are emptied of what is old; none by default. What goes can be brought back like
	// whatever was expunged.
	Expire []ExpireRule `yaml:"expire"`
	// ExpireEvery is how often they are applied. Default 6h.
	ExpireEvery time.Duration `yaml:"expire_every"`
	// PerUserFlags are the flags that each reader of a shared mailbox has to himself, as "\\Seen" and "$Later"; "*" is all
	// keywords. \Deleted cannot be one. Default "\\Seen".
	PerUserFlags []string `yaml:"per_user_flags"`
	// EmailsMemory is how much memory holds what was read last of emails, with their part indexes, octets: clients list the newest
	// ones again and again. Default 67108864 (64 MiB); below 0 none is held.
	EmailsMemory int64 `yaml:"emails_memory"`
}

// QuotaConfig has the limits of accounts that have none of their own (RFC 9208).
type QuotaConfig struct {
	// Size is how many octets an account may have, and Messages how many messages. Default 0: no limit.
	Size     int64 `yaml:"size"`
	Messages int64 `yaml:"messages"`
	// TellAt are the shares of its limits, in percent, at which the owner of an account finds a message about it in INBOX,
	// and another when it is below again. Default 80, 95; 0 alone: nobody is told.
	TellAt []int `yaml:"tell_at"`
}

// Levels are TellAt without 0.
func (c *QuotaConfig) Levels() []int {
	return slices.DeleteFunc(slices.Clone(c.TellAt), func(l int) bool { return l == 0 })
}

// RetentionConfig says how long what was removed is kept, beside expunged_retention and `mailfarm retention`.
type RetentionConfig struct {
	// Folders have times of their own, by name or special use ("\Trash").
	Folders map[string]time.Duration `yaml:"folders"`
	// MaxBytes bounds what is kept of the expunged messages of one account, octets: beyond it the oldest go before their time, so that
	// nobody fills the blob store by appending and expunging. It does not count towards quota. Default 137438953472 (128 GiB).
	MaxBytes int64 `yaml:"max_bytes"`
	// Accounts is for how long the mail of an account that was removed is kept. Default expunged_retention.
	Accounts time.Duration `yaml:"accounts"`
}

// Default fills in what is not set.
func (c *Config) Default() {
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = 64 << 20
	}
	if c.MaxAppend == 0 {
		c.MaxAppend = 1000
	}
	if c.EmailsMemory == 0 {
		c.EmailsMemory = 64 << 20
	}
	if c.SnapshotTime == 0 {
		c.SnapshotTime = time.Minute
	}
	if c.ExpungedRetention == 0 {
		c.ExpungedRetention = 14 * 24 * time.Hour
	}
	if len(c.Quota.TellAt) == 0 {
		c.Quota.TellAt = []int{80, 95}
	}
	if c.Retention.MaxBytes == 0 {
		c.Retention.MaxBytes = 128 << 30
	}
	if c.Retention.Accounts == 0 {
		c.Retention.Accounts = c.ExpungedRetention
	}
	if c.ExpireEvery == 0 {
		c.ExpireEvery = 6 * time.Hour
	}
	if c.PerUserFlags == nil {
		c.PerUserFlags = []string{`\Seen`}
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
	if c.ExpungedRetention < time.Second {
		errs = append(errs, fmt.Errorf("store.expunged_retention: %v is less than 1s", c.ExpungedRetention))
	}
	if c.Quota.Size < 0 || c.Quota.Messages < 0 {
		errs = append(errs, errors.New("store.quota: a limit is negative; 0 is none"))
	}
	for _, l := range c.Quota.TellAt {
		if l < 0 || l > 100 {
			errs = append(errs, fmt.Errorf("store.quota.tell_at: %d is not between 0 and 100 percent", l))
		}
	}
	if c.Retention.MaxBytes < 1 {
		errs = append(errs, fmt.Errorf("store.retention.max_bytes: %d is not positive", c.Retention.MaxBytes))
	}
	if c.Retention.Accounts < time.Second {
		errs = append(errs, fmt.Errorf("store.retention.accounts: %v is less than 1s", c.Retention.Accounts))
	}
	for _, name := range sortedKeys(c.Retention.Folders) {
		if _, err := ruleFolder(name); err != nil || name == "" || c.Retention.Folders[name] < 0 {
			errs = append(errs, fmt.Errorf("store.retention.folders: %q is no folder, or %v no time", name, c.Retention.Folders[name]))
		}
	}
	if c.ExpireEvery < time.Second {
		errs = append(errs, fmt.Errorf("store.expire_every: %v is less than 1s", c.ExpireEvery))
	}
	for i := range c.Expire {
		if err := c.Expire[i].check(); err != nil {
			errs = append(errs, fmt.Errorf("store.expire[%d]: %w", i, err))
		}
	}
	for _, f := range c.PerUserFlags {
		if f != "*" && !isFlag(f) || strings.EqualFold(f, `\Deleted`) {
			errs = append(errs, fmt.Errorf("store.per_user_flags: %q cannot be each reader's own", f))
		}
	}
	return errors.Join(errs...)
}
