package remote

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger"
)

// Config of the role delivery-remote.
type Config struct {
	// Hostname is what EHLO says. Default: the farm's.
	Hostname string `yaml:"hostname"`
	// SmartHost is a next hop for all mail, "host:port"; its name is looked up as an address, not as a domain with MX
	// records. Default none: each domain's own servers.
	SmartHost string `yaml:"smart_host"`
	// Port of the servers of other domains. Default 25.
	Port int `yaml:"port"`
	// Connections at once, in all. Default 200.
	Connections int `yaml:"connections"`
	// ConnectionsPerDestination at once; further messages wait. Default 10.
	ConnectionsPerDestination int `yaml:"connections_per_destination"`
	// MessagesPerConnection before a connection is closed. Default 100.
	MessagesPerConnection int `yaml:"messages_per_connection"`
	// KeepConnection is how long a connection waits for the next message to the same destination; negative: not at all.
	// Default 2s.
	KeepConnection time.Duration `yaml:"keep_connection"`
	// MaxRecipients of one transaction; RFC 5321 §4.5.3.1.8 says that peers take 100. Default 100.
	MaxRecipients int `yaml:"max_recipients"`
	// MaxHosts is how many addresses are tried in one attempt; RFC 5321 §5.1 asks for two at least. Default 5.
	MaxHosts int `yaml:"max_hosts"`
	// Retry lists the waits between attempts for one recipient; the last repeats.
	// RFC 5321 §4.5.4.1 suggests 30 minutes or more after the first few. Default 5m, 15m, 30m, 1h, 4h.
	Retry []time.Duration `yaml:"retry"`
	// DelayNoticeAfter is the age at which the sender is told, once, that a message is late; negative: never. Default 4h.
	DelayNoticeAfter time.Duration `yaml:"delay_notice_after"`
	// ClaimLease is how long recipients stay claimed by a process that gives no sign of life: so late is tried again what
	// a process had in hand when it died. Default 2m.
	ClaimLease time.Duration `yaml:"claim_lease"`
	// Timeouts of the dialogue.
	Timeouts Timeouts `yaml:"timeouts"`
}

// Timeouts bound how long a peer may take. RFC 5321 §4.5.3.2 names minimums, which are the defaults but for Connect.
type Timeouts struct {
	// Connect is for one address. Default 30s.
	Connect time.Duration `yaml:"connect"`
	// Command is for greeting, EHLO, MAIL, RCPT and the reply to DATA. Default 5m.
	Command time.Duration `yaml:"command"`
	// Data is for the message to be taken, per write of up to 32 KiB. Default 3m.
	Data time.Duration `yaml:"data"`
	// Final is for the reply to the final dot. Default 10m.
	Final time.Duration `yaml:"final"`
	// Attempt is for everything together: all hosts, the whole message, all recipients. Default 2h.
	Attempt time.Duration `yaml:"attempt"`
}

// Defaults fills in what is not set.
func (c *Config) Defaults() {
	def(&c.Port, 25)
	def(&c.Connections, 200)
	def(&c.ConnectionsPerDestination, 10)
	def(&c.MessagesPerConnection, 100)
	def(&c.KeepConnection, 2*time.Second)
	def(&c.MaxRecipients, 100)
	def(&c.MaxHosts, 5)
	def(&c.DelayNoticeAfter, 4*time.Hour)
	def(&c.ClaimLease, 2*time.Minute)
	def(&c.Timeouts.Connect, 30*time.Second)
	def(&c.Timeouts.Command, 5*time.Minute)
	def(&c.Timeouts.Data, 3*time.Minute)
	def(&c.Timeouts.Final, 10*time.Minute)
	def(&c.Timeouts.Attempt, 2*time.Hour)
	if len(c.Retry) == 0 {
		c.Retry = []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 4 * time.Hour}
	}
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate tells all faults at once.
func (c *Config) Validate() error {
	var errs []error
	fault := func(key, text string, args ...any) {
		errs = append(errs, fmt.Errorf(key+": "+text, args...))
	}
	if c.Hostname == "" || strings.ContainsFunc(c.Hostname, func(r rune) bool { return r <= ' ' || r > '~' }) {
		fault("hostname", "%q is not a host name", c.Hostname)
	}
	if c.SmartHost != "" {
		if host, port, err := net.SplitHostPort(c.SmartHost); err != nil || host == "" || port == "" {
			fault("smart_host", "%q is not host:port", c.SmartHost)
		}
	}
	if c.Port < 1 || c.Port > 65535 {
		fault("port", "%d is not a port", c.Port)
	}
	for _, f := range []struct {
		key string
		v   int
	}{
		{"connections", c.Connections}, {"connections_per_destination", c.ConnectionsPerDestination},
		{"messages_per_connection", c.MessagesPerConnection}, {"max_recipients", c.MaxRecipients}, {"max_hosts", c.MaxHosts},
	} {
		if f.v < 1 {
			fault(f.key, "%d is below 1", f.v)
		}
	}
	for i, d := range c.Retry {
		if d < time.Millisecond {
			fault(fmt.Sprintf("retry[%d]", i), "%v is too short", d)
		}
	}
	if c.ClaimLease > ledger.LeaseMax {
		fault("claim_lease", "%v is above %v", c.ClaimLease, ledger.LeaseMax)
	}
	for _, f := range []struct {
		key string
		v   time.Duration
	}{
		{"claim_lease", c.ClaimLease}, {"timeouts.connect", c.Timeouts.Connect}, {"timeouts.command", c.Timeouts.Command},
		{"timeouts.data", c.Timeouts.Data}, {"timeouts.final", c.Timeouts.Final}, {"timeouts.attempt", c.Timeouts.Attempt},
	} {
		if f.v < time.Second {
			fault(f.key, "%v is below 1s", f.v)
		}
	}
	return errors.Join(errs...)
}

// wait is how long after the given number of attempts the next one is due.
func (c *Config) wait(attempts uint32) time.Duration {
	return c.Retry[min(int(attempts), len(c.Retry)-1)]
}
