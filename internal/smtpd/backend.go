package smtpd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/reply"
)

// Backend opens sessions. Its methods are called from many goroutines.
//
// Errors that methods of Backend, Session, Message and Mechanism return are answered to the peer: *reply.Error and
// *smtp.SMTPError as they are, any other as 451 4.3.0 with its text in our log only.
type Backend interface {
	// NewSession is called when a peer has connected (with implicit TLS: behind the handshake), before the greeting.
	// An error replaces the greeting and ends the connection.
	NewSession(ctx context.Context, c *Conn) (Session, error)
}

// Session is one connection's dialogue; called from one goroutine. Every ctx it is given ends when
// the server stops waiting for its connections; a call is over before the connection is.
//
// The engine keeps the order of commands: Mail comes before Rcpt, Rcpt before Data, and at most one message is open.
type Session interface {
	// AuthMechanisms lists what AUTH offers at this moment (TLS may have come since), strongest first.
	AuthMechanisms() []string
	// Auth begins an exchange with one of AuthMechanisms; ctx ends with the exchange.
	Auth(ctx context.Context, mechanism string) (Mechanism, error)
	// Mail begins a transaction. opts is the Session's to keep.
	Mail(ctx context.Context, from envelope.ReversePath, opts *smtp.MailOptions) error
	// Rcpt adds recipients: one, or several that were pipelined. It sets the Err of those it refuses and does not keep rcpts.
	Rcpt(ctx context.Context, rcpts []Rcpt)
	// Data opens the message of the transaction, which has a recipient at least. An error ends the transaction.
	Data(ctx context.Context) (Message, error)
	// Reset ends the transaction, if there is one: after RSET, EHLO and STARTTLS, and after each message.
	Reset()
	// Close is called once, last.
	Close()
}

// Rcpt is one RCPT command.
type Rcpt struct {
	To      envelope.ForwardPath
	Options smtp.RcptOptions
	// Err is the refusal; nil accepts the recipient.
	Err error
}

// Message takes the octets of one message while they arrive. It is ended by one call of Commit or Abort.
type Message interface {
	// Write takes the next octets, dot-stuffing removed, which it must not keep. After an error the rest of the
	// message is read and dropped, Abort is called, and the error is the reply.
	Write(p []byte) (int, error)
	// Commit is called when the last octet has arrived, all lines ended by CRLF as far as they are ended at all.
	// Without an error the message is durable and receipt is the text of the 250. An error of type Replies has one
	// outcome per recipient (LMTP); any other holds for all.
	Commit(ctx context.Context) (receipt string, err error)
	// Abort drops the message.
	Abort()
}

// Replies is the outcome of a message per accepted RCPT, in their order; nil is success. For LMTP only.
type Replies []error

func (r Replies) Error() string { return errors.Join(r...).Error() }

// Mechanism is one SASL exchange (RFC 4422), seen from the server.
type Mechanism interface {
	// Next takes the client's response and returns the next challenge. The first response is nil where the client sent
	// none with AUTH: a mechanism in which the client speaks first then returns an empty challenge.
	// With done the client is authenticated; a challenge is then still sent and answered by an empty response (RFC 4954 §4).
	Next(response []byte) (challenge []byte, done bool, err error)
}

// replyOf turns a Backend's error into a reply.
func replyOf(err error) *reply.Error {
	if r := (*reply.Error)(nil); errors.As(err, &r) {
		return r
	}
	var s *smtp.SMTPError
	if !errors.As(err, &s) {
		return reply.Of(err)
	}
	enhanced := fmt.Sprintf("%d.%d.%d", s.EnhancedCode[0], s.EnhancedCode[1], s.EnhancedCode[2])
	switch s.EnhancedCode {
	case smtp.EnhancedCodeNotSet:
		enhanced = fmt.Sprintf("%d.0.0", s.Code/100)
	case smtp.NoEnhancedCode:
		enhanced = ""
	}
	return (&reply.Error{Code: s.Code, Enhanced: enhanced, Text: strings.TrimSpace(s.Message)}).Because(err)
}
