// Package obs is how mailfarm is observed: the one list of log keys, and trace events.
package obs

import (
	"log/slog"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// QueueID is on every line once there is one.
func QueueID(id envelope.QueueID) slog.Attr { return slog.String("queue_id", id.String()) }

// ConnID is on every line of a connection before there is a queue id.
func ConnID(id string) slog.Attr { return slog.String("conn_id", id) }

// ReversePath is the sender of the envelope.
func ReversePath(p envelope.ReversePath) slog.Attr {
	return slog.String("reverse_path", "<"+string(p)+">")
}

// ForwardPath is one recipient of the envelope.
func ForwardPath(p envelope.ForwardPath) slog.Attr { return slog.String("forward_path", string(p)) }

// Recipient is a recipient's number in its message.
func Recipient(n uint32) slog.Attr { return slog.Uint64("recipient", uint64(n)) }

// Client is the peer's address.
func Client(addr string) slog.Attr { return slog.String("client", addr) }

// Relay is the host that took, or refused, a message from us.
func Relay(host string) slog.Attr { return slog.String("relay", host) }

// Reply is what a peer said, or what we said to it.
func Reply(text string) slog.Attr { return slog.String("reply", text) }

// DSN is an enhanced status code (RFC 3463).
func DSN(code string) slog.Attr { return slog.String("dsn", code) }

// Account is an account's id.
func Account(id mailbox.AccountID) slog.Attr { return slog.Uint64("account", uint64(id)) }

// User is an account's address, or what a peer gave for one.
func User(address string) slog.Attr { return slog.String("user", address) }

// Mailbox is a mailbox's name.
func Mailbox(name string) slog.Attr { return slog.String("mailbox", name) }

// MessageID is the header field.
func MessageID(id string) slog.Attr { return slog.String("message_id", id) }

// Size is octets.
func Size(n int64) slog.Attr { return slog.Int64("size", n) }

// Count is how many of what the message names.
func Count(n int) slog.Attr { return slog.Int("count", n) }

// Delay is what a stage took.
func Delay(stage string, d time.Duration) slog.Attr { return slog.Duration("delay_"+stage, d) }

// Role is the part of the farm that speaks.
func Role(name string) slog.Attr { return slog.String("role", name) }

// Addr is a listening address.
func Addr(addr string) slog.Attr { return slog.String("addr", addr) }

// Path is a file or folder.
func Path(p string) slog.Attr { return slog.String("path", p) }

// Reason says why.
func Reason(text string) slog.Attr { return slog.String("reason", text) }

// Error is the cause.
func Error(err error) slog.Attr { return slog.Any("error", err) }

// Stack is where a panic came from.
func Stack(stack []byte) slog.Attr { return slog.String("stack", string(stack)) }
