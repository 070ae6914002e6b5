package dsn

import (
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
)

// Action is what became of a recipient (RFC 3464 §2.3.3).
type Action string

// Actions.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed"
	Expanded  Action = "expanded"
)

// Limits of what is returned and said.
const (
	// MaxReturned is the largest message that is returned whole, octets; of a larger one the header is returned.
	MaxReturned = 256 << 10
	// MaxReturnedHeader is how much of a header is returned, octets, cut behind a field.
	MaxReturnedHeader = 64 << 10
	// MaxDiagnostic is how much of a remote reply is told, octets.
	MaxDiagnostic = 2000
)

// Report is what a DSN tells.
type Report struct {
	// QueueID is the DSN's own id, from which its Message-ID and boundary follow.
	QueueID envelope.QueueID
	// Parent is the queue id of the message it is about: for whoever asks the postmaster.
	Parent envelope.QueueID
	// Host is the reporting MTA's name.
	Host string
	// To is the sender of the message it is about. The caller sees to it that it is not null (RFC 3464 §2).
	To envelope.ReversePath
	// Time is the DSN's Date, kept to the second.
	Time time.Time
	// Arrival is when the message arrived; zero leaves it out.
	Arrival time.Time
	// EnvID is the sender's envelope id, decoded from xtext; empty where none was given.
	EnvID string
	// SMTPUTF8 tells that the message came by SMTPUTF8, so that its sender can read a DSN that needs it (RFC 6533 §4).
	SMTPUTF8 bool
	// Recipients to tell of, at least one.
	Recipients []Recipient

	// Full asks for the whole message back: RET=FULL. It counts only where a recipient has failed (RFC 3461 §4.3).
	Full bool
	// Header is the message's header section as it was sent on or received, with or without the empty line behind it.
	Header []byte
	// Message is the whole message, its header included; nil where it is not at hand or larger than MaxReturned.
	Message []byte
}

// Recipient is one recipient's outcome.
type Recipient struct {
	// Final is the forward-path that was tried.
	Final envelope.ForwardPath
	// Original is what the sender's ORCPT said, "type;address", decoded from xtext; empty where none was given.
	Original string
	Action   Action
	// Status is the enhanced status code: "5.1.1".
	Status string
	// RemoteMTA is the host that spoke the last word; empty where it was us.
	RemoteMTA string
	// Diagnostic is its SMTP reply, or ours: "550 5.1.1 no such user".
	Diagnostic string
	// LastAttempt is when that was; zero leaves it out.
	LastAttempt time.Time
	// WillRetryUntil is when we shall give up, of a Delayed one; zero leaves it out.
	WillRetryUntil time.Time
}

// has tells whether a recipient has one of the actions.
func (r *Report) has(actions ...Action) bool {
	for i := range r.Recipients {
		for _, a := range actions {
			if r.Recipients[i].Action == a {
				return true
			}
		}
	}
	return false
}

// NeedsSMTPUTF8 tells whether the DSN can be sent by SMTPUTF8 only (RFC 6531 §3.4): it has addresses or header fields, its
// own or returned ones, that are not ASCII.
func (r *Report) NeedsSMTPUTF8() bool {
	if !r.SMTPUTF8 {
		return false
	}
	if !isASCII(string(r.To)) {
		return true
	}
	return r.globalStatus() || !isASCII(string(r.returnedHeader()))
}

// globalStatus tells whether the delivery-status is message/global-delivery-status (RFC 6533 §4).
func (r *Report) globalStatus() bool {
	if !r.SMTPUTF8 {
		return false
	}
	for i := range r.Recipients {
		p := &r.Recipients[i]
		if !isASCII(string(p.Final)) || !isASCII(p.Original) || !isASCII(p.Diagnostic) || !isASCII(p.RemoteMTA) {
			return true
		}
	}
	return !isASCII(r.EnvID)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
