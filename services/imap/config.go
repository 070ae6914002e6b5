package imap

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mailfarm/mailfarm/internal/front"
)

// Config of the imap role. A field that is zero has its default.
type Config struct {
	// Listeners are where clients connect.
	Listeners []front.Listener `yaml:"listeners"`
	// PlaintextNetworks are the client networks that may log in without TLS, as "127.0.0.0/8". Default none.
	PlaintextNetworks []string `yaml:"plaintext_networks"`

	// MaxConnections at once, and MaxPerAddress of one client address (IPv6: its /64). Default 10000 and 100.
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
	// Drain is how long commands in progress may take to end when the role stops; then sessions are cut. Default 4s.
	Drain time.Duration `yaml:"drain"`
	// CallTimeout bounds a call of another role that does not stream. Default 30s.
	CallTimeout time.Duration `yaml:"call_timeout"`
	// SearchTimeout bounds one SEARCH. Default 5m.
	SearchTimeout time.Duration `yaml:"search_timeout"`
	// CompareEvery is how often the counters of all watched accounts are compared, for notices that were lost. Default 30s.
	CompareEvery time.Duration `yaml:"compare_every"`

	// KeepAlive is how long an idle client waits for a sign of life at most; most wait somewhat shorter, so that not all are
	// told at once. Default 2m.
	KeepAlive time.Duration `yaml:"keep_alive"`

	// NoCompress takes COMPRESS=DEFLATE (RFC 4978) off the offer: it saves processor time for network, and a session that
	// compresses holds 40 KiB more. Default false.
	NoCompress bool `yaml:"no_compress"`

	// OtherUsersPrefix and SharedPrefix begin the names of what others share, and of shared accounts, as in
	// "Other Users/alice@example.org/Work" (RFC 2342). Default "Other Users" and "Shared".
	OtherUsersPrefix string `yaml:"other_users_prefix"`
	SharedPrefix     string `yaml:"shared_prefix"`

	// AdminContact is a URI by which the administrator is reached, as "mailto:postmaster@example.org", and ServerComment says
	// something about this server: /shared/admin and /shared/comment of METADATA (RFC 5464 §6.2). Default none.
	AdminContact  string `yaml:"admin_contact"`
	ServerComment string `yaml:"server_comment"`

	// MaxLine is the longest command line between literals, octets. Default 64 KiB.
	MaxLine int `yaml:"max_line"`
	// MaxLiteral is the longest literal but that of APPEND, octets; before login 4 KiB at most. Default 64 KiB.
	MaxLiteral int `yaml:"max_literal"`
	// MaxCommand bounds a command with its literals, octets, but for that of APPEND. Default 256 KiB.
	MaxCommand int `yaml:"max_command"`
	// MaxAppend is the largest message APPEND takes: APPENDLIMIT (RFC 7889), octets. Default 64 MiB.
	MaxAppend int64 `yaml:"max_append"`
	// MessageLimit is how many messages one FETCH, STORE, SEARCH, SORT, THREAD, COPY, MOVE, APPEND or UID EXPUNGE is about at
	// most, and SaveLimit how many COPY and APPEND file: MESSAGELIMIT and SAVELIMIT (RFC 9738, which asks for no less than 1000).
	// Of both the lower one holds for all. Default none; an APPEND files 1000.
	MessageLimit int `yaml:"message_limit"`
	SaveLimit    int `yaml:"save_limit"`
	// KeysMemory is how much the process keeps of headers for SEARCH, SORT and THREAD, octets: about 250 for a message. Default 128 MiB.
	KeysMemory int64 `yaml:"keys_memory"`
	// MailboxesMemory is how much the process keeps of mailboxes that no session has selected any more, for 15 minutes at most,
	// octets: about 20 for a message. Default 64 MiB.
	MailboxesMemory int64 `yaml:"mailboxes_memory"`
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
	// lingerOctets bounds what is read and dropped of a client that is told that the role stops.
	lingerOctets = 1 << 20
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
	defTime(&c.Drain, 4*time.Second)
	defTime(&c.CallTimeout, 30*time.Second)
	defTime(&c.SearchTimeout, 5*time.Minute)
	defTime(&c.CompareEvery, 30*time.Second)
	defTime(&c.KeepAlive, 2*time.Minute)
	c.OtherUsersPrefix = cmp.Or(c.OtherUsersPrefix, "Other Users")
	c.SharedPrefix = cmp.Or(c.SharedPrefix, "Shared")
	def(&c.MaxLine, 64<<10)
	def(&c.MaxLiteral, 64<<10)
	def(&c.MaxCommand, 256<<10)
	if c.MaxAppend == 0 {
		c.MaxAppend = 64 << 20
	}
	if c.KeysMemory == 0 {
		c.KeysMemory = 128 << 20
	}
	if c.MailboxesMemory == 0 {
		c.MailboxesMemory = 64 << 20
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
		{"write_timeout", int64(c.WriteTimeout)}, {"drain", int64(c.Drain)}, {"call_timeout", int64(c.CallTimeout)}, {"search_timeout", int64(c.SearchTimeout)},
		{"compare_every", int64(c.CompareEvery)}, {"keep_alive", int64(c.KeepAlive)}, {"max_append", c.MaxAppend}, {"keys_memory", c.KeysMemory}, {"mailboxes_memory", c.MailboxesMemory},
		{"max_bad_commands", int64(c.MaxBadCommands)}, {"max_failed_logins", int64(c.MaxFailedLogins)},
	} {
		if f.n < 0 {
			fault(f.key, "must not be negative")
		}
	}
	if u, err := url.Parse(c.AdminContact); c.AdminContact != "" && (err != nil || u.Scheme == "") {
		fault("admin_contact", "%q is no URI, as mailto:postmaster@example.org", c.AdminContact)
	}
	if len(c.ServerComment) > 1024 || !utf8.ValidString(c.ServerComment) {
		fault("server_comment", "must be at most 1024 octets of UTF-8")
	}
	for key, n := range map[string]int{"message_limit": c.MessageLimit, "save_limit": c.SaveLimit} {
		if n != 0 && n < 10 {
			fault(key, "must be at least 10, or 0 for none")
		}
	}
	full := c.withDefaults()
	for key, prefix := range map[string]string{"other_users_prefix": full.OtherUsersPrefix, "shared_prefix": full.SharedPrefix} {
		if checkName(prefix).status != "" || strings.Contains(prefix, separator) {
			fault(key, "%q is no name of one level", prefix)
		}
	}
	if strings.TrimRight(full.OtherUsersPrefix, aside) == strings.TrimRight(full.SharedPrefix, aside) {
		fault("shared_prefix", "must not be other_users_prefix, whatever %q they end with", aside)
	}
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
