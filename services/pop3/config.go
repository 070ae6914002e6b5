package pop3

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/mailfarm/mailfarm/internal/front"
)

// Config of the pop3 role. A field that is zero has its default.
type Config struct {
	// Listeners are where clients connect.
	Listeners []front.Listener `yaml:"listeners"`
	// PlaintextNetworks are the client networks that may log in without TLS, as "127.0.0.0/8". Default none.
	PlaintextNetworks []string `yaml:"plaintext_networks"`

	// MaxConnections at once, and MaxPerAddress of one client address (IPv6: its /64). Default 5000 and 50.
	MaxConnections int `yaml:"max_connections"`
	MaxPerAddress  int `yaml:"max_per_address"`
	// MaxBadCommands that were unknown, malformed or out of order end the connection. Default 20.
	MaxBadCommands int `yaml:"max_bad_commands"`
	// MaxFailedLogins end the connection. Default 3.
	MaxFailedLogins int `yaml:"max_failed_logins"`
	// MaxMessages is how many messages a session sees; of a larger INBOX the oldest. A session holds 24 octets for each:
	// 2.4 MB with 100,000 left on the server. Default 1,000,000.
	MaxMessages int `yaml:"max_messages"`

	// LoginTimeout is from connecting to being logged in. Default 1m.
	LoginTimeout time.Duration `yaml:"login_timeout"`
	// IdleTimeout is the autologout of who is logged in; RFC 1939 §3 asks for at least 10 minutes. Default 10m.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// WriteTimeout is how long a client may take for one write of at most 64 KiB. Default 2m.
	WriteTimeout time.Duration `yaml:"write_timeout"`
	// Drain is how long commands in progress may take to end when the role stops; then sessions are cut. Default 4s.
	Drain time.Duration `yaml:"drain"`
	// CallTimeout bounds a call of another role that does not stream. Default 30s.
	CallTimeout time.Duration `yaml:"call_timeout"`
	// Lock is the lease on a maildrop: how long it stays locked when this process dies. It is renewed while the connection
	// lives and given back when it ends. Default 60s.
	Lock time.Duration `yaml:"lock"`
	// LockWait is how long a login waits for the maildrop before [IN-USE]: a client that comes again at once finds its own
	// dying session. Default 1s.
	LockWait time.Duration `yaml:"lock_wait"`
	// ExpireDays is for how many days messages that were read stay when a session ends with QUIT: EXPIRE (RFC 2449 §6.7). 0
	// removes what the session has fetched. What nobody has read is never removed so. Default none: they stay.
	ExpireDays *int `yaml:"expire_days"`
	// LoginDelay is the time from one session of an account to its next: LOGIN-DELAY (RFC 2449 §6.5). Default none, 1h at most.
	LoginDelay time.Duration `yaml:"login_delay"`
	// FolderSeparator, as "#", lets a user name say which folder is the maildrop: "alice@example.org#Archive/2024". Not with
	// SCRAM, where names are part of what is proved. Default none: INBOX alone.
	FolderSeparator string `yaml:"folder_separator"`
	// KeepUnseen leaves messages that were fetched unseen for IMAP; otherwise they are marked \Seen when the session ends.
	KeepUnseen bool `yaml:"keep_unseen"`
}

// Limits that are no matter of taste.
const (
	// maxLine is the longest command, octets with its line end: RFC 2449 §4 has 255, RFC 6856 §2 twice that.
	maxLine = 512
	// maxAuthLine is the longest line of an AUTH exchange (RFC 4954 §4 has this for SMTP; RFC 5034 leaves it open).
	maxAuthLine = 12288
	// maxAuthSteps bounds the rounds of one AUTH exchange.
	maxAuthSteps = 8
	// handshakeTimeout bounds the TLS handshake.
	handshakeTimeout = 30 * time.Second
	// lingerTime and lingerOctets bound what is read and dropped of a client that was hung up on.
	lingerTime   = time.Second
	lingerOctets = 1 << 20
)

// Defaults fills in what is not set.
func (c *Config) Defaults() {
	for _, d := range []struct {
		v   *int
		def int
	}{
		{&c.MaxConnections, 5000}, {&c.MaxPerAddress, 50}, {&c.MaxBadCommands, 20}, {&c.MaxFailedLogins, 3}, {&c.MaxMessages, 1_000_000},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.LoginTimeout, time.Minute}, {&c.IdleTimeout, 10 * time.Minute}, {&c.WriteTimeout, 2 * time.Minute},
		{&c.Drain, 4 * time.Second}, {&c.CallTimeout, 30 * time.Second}, {&c.Lock, time.Minute}, {&c.LockWait, time.Second},
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
	_, err := c.plaintext()
	faults = append(faults, front.Validate("listeners", c.Listeners), err)
	for _, f := range []struct {
		key string
		n   int64
	}{
		{"max_connections", int64(c.MaxConnections)}, {"max_per_address", int64(c.MaxPerAddress)}, {"max_bad_commands", int64(c.MaxBadCommands)},
		{"max_failed_logins", int64(c.MaxFailedLogins)}, {"max_messages", int64(c.MaxMessages)}, {"login_timeout", int64(c.LoginTimeout)},
		{"idle_timeout", int64(c.IdleTimeout)}, {"write_timeout", int64(c.WriteTimeout)}, {"drain", int64(c.Drain)}, {"call_timeout", int64(c.CallTimeout)},
		{"lock_wait", int64(c.LockWait)},
	} {
		if f.n < 0 {
			fault("%s: must not be negative", f.key)
		}
	}
	// A lease is renewed at a third of its time, and store gives none beyond an hour.
	if c.Lock != 0 && (c.Lock < 3*time.Second || c.Lock > time.Hour) {
		fault("lock: %v is not 3s to 1h", c.Lock)
	}
	if c.ExpireDays != nil && (*c.ExpireDays < 0 || *c.ExpireDays > 36500) {
		fault("expire_days: %d is not 0 to 36500", *c.ExpireDays)
	}
	// It is a lease, too.
	if c.LoginDelay < 0 || c.LoginDelay > time.Hour {
		fault("login_delay: %v is not 0 to 1h", c.LoginDelay)
	}
	if len(c.FolderSeparator) > 8 || strings.ContainsAny(c.FolderSeparator, "@. \"\\") || strings.ContainsFunc(c.FolderSeparator, unicode.IsLetter) {
		fault("folder_separator: %q may be part of an address", c.FolderSeparator)
	}
	return errors.Join(faults...)
}

// plaintext parses PlaintextNetworks.
func (c *Config) plaintext() (front.Networks, error) {
	return front.ParseNetworks("plaintext_networks", c.PlaintextNetworks)
}
