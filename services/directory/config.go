package directory

import (
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/credential"
)

// NoDelimiter as Config.RecipientDelimiter turns details off.
const NoDelimiter = "none"

// Config of the directory role.
type Config struct {
	// RecipientDelimiter separates a local-part from its detail, as in alice+lists; each of its characters does.
	// "none" turns details off. Default "+".
	RecipientDelimiter string `yaml:"recipient_delimiter"`
	// RoleAddresses are local-parts that no account may have, since whoever owns the domain must get their mail
	// (RFC 5321 §4.5.1, RFC 2142): they are aliases. Default postmaster, abuse.
	RoleAddresses []string `yaml:"role_addresses"`
	// PasswordMinLength is in characters. Default 8.
	PasswordMinLength int `yaml:"password_min_length"`
	// RefusedPasswords are such that everybody knows; no account is given one. Default none.
	RefusedPasswords []string `yaml:"-"`
	// SCRAMIterations is the cost of new SCRAM-SHA-256 keys; 10,000 take about 2 ms of one core. Default 10,000.
	SCRAMIterations int `yaml:"scram_iterations"`
	// LoginCache is for how long a password that was right is not worked out again. Default 5m; a changed password or a
	// removed account takes effect at once all the same.
	LoginCache time.Duration `yaml:"login_cache"`
	// LoginCacheEntries bounds how many such logins are remembered. Default 65,536.
	LoginCacheEntries int `yaml:"login_cache_entries"`
	// CacheEntries bounds how many look-ups are remembered. Default 100,000.
	CacheEntries int `yaml:"cache_entries"`
	// CacheCheck is how old the cache may grow before it is compared with the store: how late a change made by another
	// process is seen. Default 1s.
	CacheCheck time.Duration `yaml:"cache_check"`
	// Slow is what happens to who guesses passwords.
	Slow SlowConfig `yaml:"slow"`
}

// SlowConfig bounds how fast passwords can be guessed. A login that succeeded lately, with the same password, is never slowed.
type SlowConfig struct {
	// AccountFree is how many failed logins of one account, or one name that is none, cost nothing. Default 5.
	AccountFree int `yaml:"account_free"`
	// ClientFree is the same for one client address (IPv6: its /64). Default 20.
	ClientFree int `yaml:"client_free"`
	// Delay is the pause that the first failure beyond brings; each further one doubles it. Default 1s.
	Delay time.Duration `yaml:"delay"`
	// MaxDelay bounds the pause. Default 30s.
	MaxDelay time.Duration `yaml:"max_delay"`
	// Waiting is how many logins may wait for their pause per client, and per client at one account; others are refused.
	// Default 4.
	Waiting int `yaml:"waiting"`
	// AccountWaiting is how many may per account, whatever their clients: where there are more, those of clients that have
	// failed most often at this account are refused. Default 32, or Waiting where that is more.
	AccountWaiting int `yaml:"account_waiting"`
	// Forget is after how long without a failure the count begins anew. Default 15m.
	Forget time.Duration `yaml:"forget"`
	// Entries bounds how many accounts and clients are counted at once. Default 65,536.
	Entries int `yaml:"entries"`
	// Queue is how many logins may wait for a core; others are refused. Default 1,024.
	Queue int `yaml:"queue"`
}

// Defaults fills in what is not set.
func (c *Config) Defaults() {
	if c.RecipientDelimiter == "" {
		c.RecipientDelimiter = "+"
	}
	if c.RoleAddresses == nil {
		c.RoleAddresses = []string{"postmaster", "abuse"}
	}
	for _, d := range []struct {
		v   *int
		def int
	}{
		{&c.PasswordMinLength, 8}, {&c.SCRAMIterations, credential.DefaultIterations},
		{&c.LoginCacheEntries, 65_536}, {&c.CacheEntries, 100_000},
		{&c.Slow.AccountFree, 5}, {&c.Slow.ClientFree, 20}, {&c.Slow.Waiting, 4}, {&c.Slow.Entries, 65_536}, {&c.Slow.Queue, 1024},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.Slow.AccountWaiting == 0 {
		c.Slow.AccountWaiting = max(32, c.Slow.Waiting)
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.LoginCache, 5 * time.Minute}, {&c.CacheCheck, time.Second},
		{&c.Slow.Delay, time.Second}, {&c.Slow.MaxDelay, 30 * time.Second}, {&c.Slow.Forget, 15 * time.Minute},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
}

// Validate tells all faults at once.
func (c *Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.RecipientDelimiter != NoDelimiter {
		for _, r := range c.RecipientDelimiter {
			if r <= ' ' || r > '~' || r == '@' || r == '"' || r == '.' {
				fault("recipient_delimiter: %q cannot separate a detail: use characters such as + or -, or %q", c.RecipientDelimiter, NoDelimiter)
				break
			}
		}
	}
	for _, local := range c.RoleAddresses {
		if _, err := account.ParseLocal(local); err != nil {
			fault("role_addresses: %q: %w", local, err)
		}
	}
	if c.PasswordMinLength < 1 || c.PasswordMinLength > 128 {
		fault("password_min_length: %d is not 1 to 128", c.PasswordMinLength)
	}
	if c.SCRAMIterations < credential.MinIterations || c.SCRAMIterations > credential.MaxIterations {
		fault("scram_iterations: %d is not %d to %d", c.SCRAMIterations, credential.MinIterations, credential.MaxIterations)
	}
	for _, f := range []struct {
		key string
		v   int
	}{
		{"login_cache_entries", c.LoginCacheEntries}, {"cache_entries", c.CacheEntries}, {"slow.account_free", c.Slow.AccountFree},
		{"slow.client_free", c.Slow.ClientFree}, {"slow.waiting", c.Slow.Waiting}, {"slow.entries", c.Slow.Entries}, {"slow.queue", c.Slow.Queue},
	} {
		if f.v < 1 {
			fault("%s: %d is below 1", f.key, f.v)
		}
	}
	for _, f := range []struct {
		key string
		v   time.Duration
	}{
		{"login_cache", c.LoginCache}, {"cache_check", c.CacheCheck}, {"slow.delay", c.Slow.Delay}, {"slow.forget", c.Slow.Forget},
	} {
		if f.v <= 0 {
			fault("%s: %v is not above 0", f.key, f.v)
		}
	}
	if c.Slow.AccountWaiting < c.Slow.Waiting {
		fault("slow.account_waiting: %d is below slow.waiting, %d", c.Slow.AccountWaiting, c.Slow.Waiting)
	}
	if c.Slow.MaxDelay < c.Slow.Delay {
		fault("slow.max_delay: %v is below slow.delay, %v", c.Slow.MaxDelay, c.Slow.Delay)
	}
	return errors.Join(faults...)
}

// delimiters is what Address.Detail takes.
func (c *Config) delimiters() string {
	if c.RecipientDelimiter == NoDelimiter {
		return ""
	}
	return c.RecipientDelimiter
}
