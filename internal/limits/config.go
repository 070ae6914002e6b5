package limits

import (
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
)

// Config of the limits that hold over all processes of the farm together. Numbers that are 0 have their default; -1 is no
// limit.
type Config struct {
	// Trusted networks are neither counted as clients nor banned. Proxies that do not tell their clients' addresses belong
	// here, and webmail: the limits of accounts hold for it all the same.
	// Default 127.0.0.0/8 and ::1/128; [] is none.
	Trusted []string `yaml:"trusted"`
	// Connections at once of one client.
	Connections ConnectionsConfig `yaml:"connections"`
	// Client bounds what one client may hand to ingress by SMTP.
	Client ClientConfig `yaml:"client"`
	// Account bounds what one account may hand to submission.
	Account AccountConfig `yaml:"account"`
	// Logins bounds failed logins.
	Logins LoginsConfig `yaml:"logins"`
	// Gossip is how processes tell each other.
	Gossip GossipConfig `yaml:"gossip"`
	// MaxKeys bounds how many clients and accounts are counted at once in a process, beside those that are connected; who
	// was not seen for longest is forgotten. About 300 octets each. Default 100,000.
	MaxKeys int `yaml:"max_keys"`
	// MaxBans bounds how many clients the farm bans of itself; operators may ban more. Default 100,000.
	MaxBans int `yaml:"max_bans"`
}

// ConnectionsConfig is per service.
type ConnectionsConfig struct {
	// SMTP and Submission. Default 200.
	SMTP       int `yaml:"smtp"`
	Submission int `yaml:"submission"`
	// LMTP. Default -1.
	LMTP int `yaml:"lmtp"`
	// IMAP. Default 1,000.
	IMAP int `yaml:"imap"`
	// POP3. Default 200.
	POP3 int `yaml:"pop3"`
}

// ClientConfig of messages: those that MAIL began.
type ClientConfig struct {
	// MessagesPerMinute. Default -1.
	MessagesPerMinute int `yaml:"messages_per_minute"`
	// MessagesPerHour. Default -1.
	MessagesPerHour int `yaml:"messages_per_hour"`
}

// AccountConfig of submission.
type AccountConfig struct {
	// Exempt networks are those from which an account may send what it wants. Default 127.0.0.0/8 and ::1/128; [] is none.
	Exempt []string `yaml:"exempt"`
	// Connections at once that are logged in. Default 100.
	Connections int `yaml:"connections"`
	// MessagesPerHour are those that MAIL began. Default 1,000.
	MessagesPerHour int `yaml:"messages_per_hour"`
	// MessagesPerDay. Default 5,000.
	MessagesPerDay int `yaml:"messages_per_day"`
	// RecipientsPerHour are those that RCPT accepted. Default 5,000.
	RecipientsPerHour int `yaml:"recipients_per_hour"`
	// RecipientsPerDay. Default 20,000.
	RecipientsPerDay int `yaml:"recipients_per_day"`
}

// LoginsConfig of failed logins and the bans that follow.
type LoginsConfig struct {
	// Failures is how many different pairs of account and password a client may try in vain within Window; with that many
	// it is banned. At most 1,000. Default 20.
	Failures int `yaml:"failures"`
	// AccountFailures is how many may be tried at one account, by all clients, before the account counts as guessed at; a
	// client is then banned for GuessingFailures. At most 1,000. Default 100.
	AccountFailures int `yaml:"account_failures"`
	// GuessingFailures is what a client has, instead of Failures, at an account that is guessed at. Default 5.
	GuessingFailures int `yaml:"guessing_failures"`
	// Window is how long a failure counts. Default 15m.
	Window time.Duration `yaml:"window"`
	// BanTime is how long the first ban lasts; each further one doubles it. Default 15m.
	BanTime time.Duration `yaml:"ban_time"`
	// MaxBanTime bounds that. Default 24h.
	MaxBanTime time.Duration `yaml:"max_ban_time"`
	// Forget is how long after a ban's end the next one still counts as a further one. Default 24h.
	Forget time.Duration `yaml:"forget"`
}

// GossipConfig of what processes tell each other on the bus.
type GossipConfig struct {
	// Every is how often. What grows fast is told sooner, ten times a second at most. Default 1s.
	Every time.Duration `yaml:"every"`
	// Share of a limit, in percent, from which a key is told of. Default 5.
	Share int `yaml:"share"`
	// MaxBytes of one telling; where there is more, the keys nearest to their limits are told of. Default 128 KiB.
	MaxBytes int `yaml:"max_bytes"`
	// Expire is how long what a process told holds. Default 5s.
	Expire time.Duration `yaml:"expire"`
}

// maxFailures bounds how many failed attempts are kept per key.
const maxFailures = 1000

// Defaults fills in what is not set.
func (c *Config) Defaults() {
	if c.Trusted == nil {
		c.Trusted = []string{"127.0.0.0/8", "::1/128"}
	}
	if c.Account.Exempt == nil {
		c.Account.Exempt = []string{"127.0.0.0/8", "::1/128"}
	}
	for _, d := range []struct {
		v   *int
		def int
	}{
		{&c.Connections.SMTP, 200}, {&c.Connections.Submission, 200}, {&c.Connections.LMTP, -1}, {&c.Connections.IMAP, 1000},
		{&c.Connections.POP3, 200}, {&c.Client.MessagesPerMinute, -1}, {&c.Client.MessagesPerHour, -1},
		{&c.Account.Connections, 100}, {&c.Account.MessagesPerHour, 1000}, {&c.Account.MessagesPerDay, 5000},
		{&c.Account.RecipientsPerHour, 5000}, {&c.Account.RecipientsPerDay, 20_000},
		{&c.Logins.Failures, 20}, {&c.Logins.AccountFailures, 100}, {&c.Logins.GuessingFailures, 5},
		{&c.Gossip.Share, 5}, {&c.Gossip.MaxBytes, 128 << 10}, {&c.MaxKeys, 100_000}, {&c.MaxBans, 100_000},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.Logins.Window, 15 * time.Minute}, {&c.Logins.BanTime, 15 * time.Minute}, {&c.Logins.MaxBanTime, 24 * time.Hour},
		{&c.Logins.Forget, 24 * time.Hour}, {&c.Gossip.Every, time.Second}, {&c.Gossip.Expire, 5 * time.Second},
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
	_, err := c.trusted()
	_, err2 := c.exempt()
	faults = append(faults, err, err2)
	for _, f := range []struct {
		key      string
		v        int
		low, top int
	}{
		{"connections.smtp", c.Connections.SMTP, -1, 1 << 30}, {"connections.submission", c.Connections.Submission, -1, 1 << 30},
		{"connections.lmtp", c.Connections.LMTP, -1, 1 << 30}, {"connections.imap", c.Connections.IMAP, -1, 1 << 30},
		{"connections.pop3", c.Connections.POP3, -1, 1 << 30},
		{"client.messages_per_minute", c.Client.MessagesPerMinute, -1, 1 << 30},
		{"client.messages_per_hour", c.Client.MessagesPerHour, -1, 1 << 30},
		{"account.connections", c.Account.Connections, -1, 1 << 30},
		{"account.messages_per_hour", c.Account.MessagesPerHour, -1, 1 << 30},
		{"account.messages_per_day", c.Account.MessagesPerDay, -1, 1 << 30},
		{"account.recipients_per_hour", c.Account.RecipientsPerHour, -1, 1 << 30},
		{"account.recipients_per_day", c.Account.RecipientsPerDay, -1, 1 << 30},
		{"logins.failures", c.Logins.Failures, -1, maxFailures}, {"logins.account_failures", c.Logins.AccountFailures, -1, maxFailures},
		{"logins.guessing_failures", c.Logins.GuessingFailures, 1, maxFailures},
		{"gossip.share", c.Gossip.Share, 1, 100}, {"gossip.max_bytes", c.Gossip.MaxBytes, 4 << 10, 512 << 10},
		{"max_keys", c.MaxKeys, 100, 100_000_000}, {"max_bans", c.MaxBans, 1, 10_000_000},
	} {
		if f.v < f.low || f.v > f.top || f.v == 0 {
			fault("%s: %d is not %d to %d", f.key, f.v, f.low, f.top)
		}
	}
	for _, f := range []struct {
		key string
		v   time.Duration
	}{
		{"logins.window", c.Logins.Window}, {"logins.ban_time", c.Logins.BanTime}, {"logins.forget", c.Logins.Forget},
	} {
		if f.v < time.Second {
			fault("%s: %v is below 1s", f.key, f.v)
		}
	}
	if c.Logins.MaxBanTime < c.Logins.BanTime {
		fault("logins.max_ban_time: %v is below logins.ban_time, %v", c.Logins.MaxBanTime, c.Logins.BanTime)
	}
	if c.Gossip.Every < hurry {
		fault("gossip.every: %v is below %v", c.Gossip.Every, hurry)
	}
	if c.Gossip.Expire < 2*c.Gossip.Every {
		fault("gossip.expire: %v is below twice gossip.every, %v: what was told would not last until it is told again", c.Gossip.Expire, c.Gossip.Every)
	}
	return errors.Join(faults...)
}

// exempt parses Account.Exempt.
func (c *Config) exempt() (front.Networks, error) {
	return front.ParseNetworks("account.exempt", c.Account.Exempt)
}

// trusted parses Trusted.
func (c *Config) trusted() (front.Networks, error) { return front.ParseNetworks("trusted", c.Trusted) }
