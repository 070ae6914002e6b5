package smtpd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/front"
)

// Bounds on lines, in octets with their CRLF.
const (
	// maxLine is the longest command: RFC 5321 §4.5.3.1.4 has 512, and each extension adds to it (RFC 3461 §5: 500 for ORCPT).
	maxLine = 4 << 10
	// maxAuthLine is the longest line of an AUTH exchange (RFC 4954 §4).
	maxAuthLine = 12288
	// maxPendingReplies is how much of replies waits for the end of a pipelined batch.
	maxPendingReplies = 16 << 10
	// maxIdleCommands is how many NOOP, RSET, VRFY and HELP in a row are not counted as errors.
	maxIdleCommands = 100
	// maxRcptBatch is how many pipelined RCPT reach the Session in one call.
	maxRcptBatch = 100
	// maxAuthSteps bounds the rounds of one AUTH exchange.
	maxAuthSteps = 8
	// maxSkippedChunk is how long a BDAT chunk that cannot be accepted may be beyond the size limit and still be read
	// and dropped, so that the dialogue can go on.
	maxSkippedChunk = 64 << 20
)

// Config of a Server. What is zero has the default.
type Config struct {
	// Hostname greets and answers EHLO (RFC 5321 §4.2). Required.
	Hostname string
	// LMTP makes the server speak LMTP: LHLO, and a reply per recipient to DATA (RFC 2033 §4.2).
	LMTP bool
	// TLS is for STARTTLS and for listeners with implicit TLS; without it neither is offered.
	TLS *tls.Config
	// RequireAuth refuses MAIL before AUTH (530 5.7.0, RFC 6409 §4.3).
	RequireAuth bool
	Limits      Limits
	Timeouts    Timeouts
	// Service names the server for Gate and metrics, as "ingress".
	Service string
	// Gate is asked before a client is let in. May be nil.
	Gate front.Gate
	// Drain is how long messages that are arriving may take to end when Run stops. Zero: as long as Timeouts let them.
	Drain time.Duration
	// Metrics of connections that are refused. May be nil; see Collector for the others.
	Metrics prometheus.Registerer
	// AfterReply is called each time the reply to a message has left; a seam for tests of crashes. May be nil.
	AfterReply func()
}

// Limits bound what a peer may use.
type Limits struct {
	// MessageBytes is the largest message, octets, announced by SIZE. Default 50 MiB.
	MessageBytes int64 `yaml:"message_bytes"`
	// Recipients of one message, announced by LIMITS RCPTMAX; RFC 5321 §4.5.3.1.8 asks for 100 at least. Default 1000.
	Recipients int `yaml:"recipients"`
	// Messages of one connection, announced by LIMITS MAILMAX. Default 10000.
	Messages int `yaml:"messages"`
	// Connections at once, in all. Default 2000.
	Connections int `yaml:"connections"`
	// ConnectionsPerAddress is per IPv4 address or IPv6 /64 network. Default 100.
	ConnectionsPerAddress int `yaml:"connections_per_address"`
	// Errors are unknown commands, syntax errors and commands out of order since the last accepted message; then 421. Default 20.
	Errors int `yaml:"errors"`
	// Refused is how many recipients may be refused since the last accepted message; then 421. Default 100.
	Refused int `yaml:"refused"`
	// AuthFailures of one connection; then 421. Default 3.
	AuthFailures int `yaml:"auth_failures"`
}

// Timeouts bound how long a peer may take (RFC 5321 §4.5.3.2).
type Timeouts struct {
	// Command is from one reply until the whole next command has arrived. Default 5m.
	Command time.Duration `yaml:"command"`
	// Data is the longest pause within a message. Default 3m.
	Data time.Duration `yaml:"data"`
	// Transaction is from MAIL until the last octet of the message. Default 30m.
	Transaction time.Duration `yaml:"transaction"`
	// Write is for the peer to take our replies. Default 1m.
	Write time.Duration `yaml:"write"`
	// Handshake is for TLS. Default 30s.
	Handshake time.Duration `yaml:"handshake"`
}

// Default limits and times.
var (
	defaultLimits = Limits{
		MessageBytes: 50 << 20, Recipients: 1000, Messages: 10000,
		Connections: 2000, ConnectionsPerAddress: 100,
		Errors: 20, Refused: 100, AuthFailures: 3,
	}
	defaultTimeouts = Timeouts{
		Command: 5 * time.Minute, Data: 3 * time.Minute, Transaction: 30 * time.Minute,
		Write: time.Minute, Handshake: 30 * time.Second,
	}
)

// WithDefaults fills what is zero.
func (l Limits) WithDefaults() Limits {
	d := defaultLimits
	l.MessageBytes = orDefault(l.MessageBytes, d.MessageBytes)
	l.Recipients = orDefault(l.Recipients, d.Recipients)
	l.Messages = orDefault(l.Messages, d.Messages)
	l.Connections = orDefault(l.Connections, d.Connections)
	l.ConnectionsPerAddress = orDefault(l.ConnectionsPerAddress, d.ConnectionsPerAddress)
	l.Errors = orDefault(l.Errors, d.Errors)
	l.Refused = orDefault(l.Refused, d.Refused)
	l.AuthFailures = orDefault(l.AuthFailures, d.AuthFailures)
	return l
}

// WithDefaults fills what is zero.
func (t Timeouts) WithDefaults() Timeouts {
	d := defaultTimeouts
	t.Command = orDefault(t.Command, d.Command)
	t.Data = orDefault(t.Data, d.Data)
	t.Transaction = orDefault(t.Transaction, d.Transaction)
	t.Write = orDefault(t.Write, d.Write)
	t.Handshake = orDefault(t.Handshake, d.Handshake)
	return t
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Validate names every fault by its key.
func (l Limits) Validate() error {
	var faults []error
	for _, f := range []struct {
		key   string
		value int64
	}{
		{"message_bytes", l.MessageBytes}, {"recipients", int64(l.Recipients)}, {"messages", int64(l.Messages)},
		{"connections", int64(l.Connections)}, {"connections_per_address", int64(l.ConnectionsPerAddress)},
		{"errors", int64(l.Errors)}, {"refused", int64(l.Refused)}, {"auth_failures", int64(l.AuthFailures)},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("limits.%s: %d is negative", f.key, f.value))
		}
	}
	return errors.Join(faults...)
}

// Validate names every fault by its key.
func (t Timeouts) Validate() error {
	var faults []error
	for _, f := range []struct {
		key   string
		value time.Duration
	}{
		{"command", t.Command}, {"data", t.Data}, {"transaction", t.Transaction}, {"write", t.Write}, {"handshake", t.Handshake},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("timeouts.%s: %v is negative", f.key, f.value))
		}
	}
	return errors.Join(faults...)
}
