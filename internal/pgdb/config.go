package pgdb

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
)

// Config says where the database is and how it is used.
type Config struct {
	// URL is postgres://user@host:port/database?sslmode=verify-full, with several hosts where a standby may take over:
	// the one that takes writes is found. Empty: no PostgreSQL. Default empty.
	URL string `yaml:"url"`
	// PasswordFile holds the password; it is read for every new connection. Default none.
	PasswordFile string `yaml:"password_file"`
	// MaxConns is how many connections a process has at most. Default 16.
	MaxConns int `yaml:"max_conns"`
	// ConnectTimeout is how long one connection may take to be made. Default 5s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// AcquireTimeout is how long a call waits for a free connection, and for a database that is away. Default 5s.
	AcquireTimeout time.Duration `yaml:"acquire_timeout"`
	// StatementTimeout is how long the server works at one statement, and a commit waits for its standby. Default 1m.
	StatementTimeout time.Duration `yaml:"statement_timeout"`
	// LockTimeout is how long a statement waits for a row that another transaction has. Default 15s.
	LockTimeout time.Duration `yaml:"lock_timeout"`
	// IdleTimeout is how long a transaction may stand still, as under a reader that takes nothing. Default 2m.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// MaxRetries is how often a transaction is begun anew that the server undid, or that lost its connection before its
	// commit. Default 10.
	MaxRetries int `yaml:"max_retries"`
}

// Defaults is the configuration with nothing set.
func Defaults() Config {
	return Config{
		MaxConns: 16, ConnectTimeout: 5 * time.Second, AcquireTimeout: 5 * time.Second, StatementTimeout: time.Minute,
		LockTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute, MaxRetries: 10,
	}
}

// withDefaults fills what is not set.
func (c Config) withDefaults() Config {
	d := Defaults()
	for _, v := range []struct{ have, def *time.Duration }{
		{&c.ConnectTimeout, &d.ConnectTimeout}, {&c.AcquireTimeout, &d.AcquireTimeout}, {&c.StatementTimeout, &d.StatementTimeout},
		{&c.LockTimeout, &d.LockTimeout}, {&c.IdleTimeout, &d.IdleTimeout},
	} {
		if *v.have == 0 {
			*v.have = *v.def
		}
	}
	if c.MaxConns == 0 {
		c.MaxConns = d.MaxConns
	}
	if c.MaxRetries == 0 {
		c.MaxRetries = d.MaxRetries
	}
	return c
}

// Validate tells all faults, by key. What is not set is as in Defaults; without URL nothing is looked at. Files are looked at
// by Open only: a process that uses no database need not have them.
func (c Config) Validate() error {
	if c.URL == "" {
		return nil
	}
	var errs []error
	if u, err := url.Parse(c.URL); err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || u.Host == "" {
		errs = append(errs, errors.New("url: not a PostgreSQL URL")) // the cause may show the password
	}
	if c.MaxConns != 0 && (c.MaxConns < 2 || c.MaxConns > 10_000) {
		errs = append(errs, fmt.Errorf("max_conns: %d is not between 2 and 10000", c.MaxConns))
	}
	if c.MaxRetries < 0 {
		errs = append(errs, fmt.Errorf("max_retries: %d is negative", c.MaxRetries))
	}
	for _, v := range []struct {
		key string
		d   time.Duration
	}{
		{"connect_timeout", c.ConnectTimeout}, {"acquire_timeout", c.AcquireTimeout}, {"statement_timeout", c.StatementTimeout},
		{"lock_timeout", c.LockTimeout}, {"idle_timeout", c.IdleTimeout},
	} {
		if v.d < 0 || v.d > 0 && v.d < time.Millisecond {
			errs = append(errs, fmt.Errorf("%s: %s is too short", v.key, v.d))
		}
	}
	return errors.Join(errs...)
}

func password(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// Defaults fills in what is not set.
func (c *Config) Defaults() { *c = c.withDefaults() }
