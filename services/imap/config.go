package imap

import (
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
)

// Config of the imap role. A field that is zero has its default.
type Config struct {
	// Listeners are where clients connect.
	Listeners []front.Listener `yaml:"listeners"`
	// PlaintextNetworks are the client networks that may log in without TLS, as "127.0.0.0/8". Default none.
	PlaintextNetworks []string `yaml:"plaintext_networks"`

	// MaxConnections at once, and MaxPerAddress of one client address. Default 10000 and 100.
	MaxConnections int `yaml:"max_connections"`
	MaxPerAddress  int `yaml:"max_per_address"`

	// LoginTimeout is from connecting to being logged in. Default 1m.
	LoginTimeout time.Duration `yaml:"login_timeout"`
	// IdleTimeout is the autologout of who is logged in; RFC 9051 §5.4 asks for at least 30 minutes. Default 30m.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// ReadTimeout is how long the rest of a command or literal may be awaited, from one packet to the next. Default 2m.
	ReadTimeout time.Duration `yaml:"read_timeout"`
	// WriteTimeout is how long a client may take for one write of at most 64 KiB. Default 2m.
	WriteTimeout time.Duration `yaml:"write_timeout"`
	// CallTimeout bounds a call of another role that does not stream. Default 30s.
	CallTimeout time.Duration `yaml:"call_timeout"`
	// SearchTimeout bounds one SEARCH. Default 5m.
	SearchTimeout time.Duration `yaml:"search_timeout"`
	// CompareEvery is how often the counters of all watched accounts are compared, for notices that were lost. Default 30s.
	CompareEvery time.Duration `yaml:"compare_every"`

	// MaxLine is the longest command line between literals, octets. Default 64 KiB.
	MaxLine int `yaml:"max_line"`
	// MaxLiteral is the longest literal but that of APPEND, octets; before login 4 KiB at most. Default 64 KiB.
	MaxLiteral int `yaml:"max_literal"`
	// MaxCommand bounds a command with its literals, octets, but for that of APPEND. Default 256 KiB.
	MaxCommand int `yaml:"max_command"`
	// MaxAppend is the largest message APPEND takes: APPENDLIMIT (RFC 7889), octets. Default 64 MiB.
	MaxAppend int64 `yaml:"max_append"`
	// MaxBadCommands in a row end the connection. Default 20; 5 before login.
	MaxBadCommands int `yaml:"max_bad_commands"`
	// MaxFailedLogins end the connection. Default 3.
	MaxFailedLogins int `yaml:"max_failed_logins"`
}

// Limits that are no matter of taste.
const (
	literalBeforeLogin     = 4 << 10
	badCommandsBeforeLogin = 5
	// dropMax bounds what is read of a refused command only to be dropped, beyond the largest message.
	dropMax = 16 << 20
	// tagMax is the longest tag.
	tagMax = 64
	// handshakeTimeout bounds the TLS handshake.
	handshakeTimeout = 30 * time.Second
)

// Defaults fills in what is not set.
func (c *Config) Defaults() { *c = c.withDefaults() }

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	defTime := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.MaxConnections, 10000)
	def(&c.MaxPerAddress, 100)
	defTime(&c.LoginTimeout, time.Minute)
	defTime(&c.IdleTimeout, 30*time.Minute)
	defTime(&c.ReadTimeout, 2*time.Minute)
	defTime(&c.WriteTimeout, 2*time.Minute)
	defTime(&c.CallTimeout, 30*time.Second)
	defTime(&c.SearchTimeout, 5*time.Minute)
	defTime(&c.CompareEvery, 30*time.Second)
	def(&c.MaxLine, 64<<10)
	def(&c.MaxLiteral, 64<<10)
	def(&c.MaxCommand, 256<<10)
	if c.MaxAppend == 0 {
		c.MaxAppend = 64 << 20
	}
	def(&c.MaxBadCommands, 20)
	def(&c.MaxFailedLogins, 3)
	return c
}

// Validate tells all faults at once.
func (c Config) Validate() error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: "+format, append([]any{key}, args...)...))
	}
	_, err := c.plaintext()
	faults = append(faults, front.Validate("listeners", c.Listeners), err)
	for _, f := range []struct {
		key string
		n   int64
	}{
		{"max_connections", int64(c.MaxConnections)}, {"max_per_address", int64(c.MaxPerAddress)},
		{"login_timeout", int64(c.LoginTimeout)}, {"idle_timeout", int64(c.IdleTimeout)}, {"read_timeout", int64(c.ReadTimeout)},
		{"write_timeout", int64(c.WriteTimeout)}, {"call_timeout", int64(c.CallTimeout)}, {"search_timeout", int64(c.SearchTimeout)},
		{"compare_every", int64(c.CompareEvery)}, {"max_append", c.MaxAppend},
		{"max_bad_commands", int64(c.MaxBadCommands)}, {"max_failed_logins", int64(c.MaxFailedLogins)},
	} {
		if f.n < 0 {
			fault(f.key, "must not be negative")
		}
	}
	full := c.withDefaults()
	if full.MaxLine < 8<<10 {
		// RFC 9051 §4 asks for 8000.
		fault("max_line", "must be at least 8192")
	}
	if full.MaxLiteral < literalBeforeLogin {
		fault("max_literal", "must be at least %d", literalBeforeLogin)
	}
	if full.MaxCommand < full.MaxLine || full.MaxCommand < full.MaxLiteral {
		fault("max_command", "must be at least max_line and max_literal")
	}
	return errors.Join(faults...)
}

// plaintext parses PlaintextNetworks.
func (c Config) plaintext() (front.Networks, error) {
	return front.ParseNetworks("plaintext_networks", c.PlaintextNetworks)
}
