// Package reply carries SMTP reply codes and enhanced status codes (RFC 5321 §4.2, RFC 3463) as errors.
//
// An error without a verdict is transient: mail is deferred rather than lost.
package reply

import (
	"errors"
	"fmt"
)

// Error is a reply to a peer, with the cause that stays in our log.
type Error struct {
	// Code is the three-digit reply code.
	Code int
	// Enhanced is the enhanced status code: "5.1.1".
	Enhanced string
	// Text is what the peer sees: no paths, hosts or SQL.
	Text string

	cause error
}

// Permanent is a 5xx reply.
func Permanent(code int, enhanced, text string) *Error {
	return &Error{Code: code, Enhanced: enhanced, Text: text}
}

// Transient is a 4xx reply.
func Transient(code int, enhanced, text string) *Error {
	return &Error{Code: code, Enhanced: enhanced, Text: text}
}

// Because adds the cause, which only our log sees.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Error is for the log: with the cause.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.String() + ": " + e.cause.Error()
	}
	return e.String()
}

// String is for the peer.
func (e *Error) String() string { return fmt.Sprintf("%d %s %s", e.Code, e.Enhanced, e.Text) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// IsPermanent tells whether trying again is of no use.
func (e *Error) IsPermanent() bool { return e.Code >= 500 }

// Of finds the verdict in a chain of errors; one without is 451 4.3.0.
func Of(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return Transient(451, "4.3.0", "temporary local problem, try again later").Because(err)
}
