package envelope

import "strings"

// ReversePath is the mailbox of MAIL FROM without angle brackets; empty is the null reverse-path.
type ReversePath string

// IsNull tells whether a message must not be answered by a DSN (RFC 5321 §4.5.5).
func (p ReversePath) IsNull() bool { return p == "" }

// ForwardPath is the mailbox of RCPT TO without angle brackets: "local-part@domain", or "postmaster" alone (RFC 5321 §4.5.1).
type ForwardPath string

// Domain is what follows the last "@", in lower case; empty where there is none.
func (p ForwardPath) Domain() string {
	if at := strings.LastIndexByte(string(p), '@'); at >= 0 {
		return strings.ToLower(string(p[at+1:]))
	}
	return ""
}

// LocalPart is what precedes the last "@", as it was written.
func (p ForwardPath) LocalPart() string {
	if at := strings.LastIndexByte(string(p), '@'); at >= 0 {
		return string(p[:at])
	}
	return string(p)
}

// Notify holds the NOTIFY conditions of a recipient (RFC 3461 §4.1); zero where none was given, which means failure.
type Notify uint8

// The conditions, as bits.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Success tells whether delivery is to be reported.
func (n Notify) Success() bool { return n&NotifySuccess != 0 }

// Failure tells whether a bounce is to be sent: also where nothing was asked for (RFC 3461 §5.2).
func (n Notify) Failure() bool { return n == 0 || n&NotifyFailure != 0 }

// Delay tells whether a delay may be reported: also where nothing was asked for.
func (n Notify) Delay() bool { return n == 0 || n&NotifyDelay != 0 }
