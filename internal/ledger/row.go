package ledger

import (
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// IsFinal tells whether nothing more happens to a recipient in this state.
func IsFinal(s storev1.State) bool {
	switch s {
	case storev1.State_STATE_DELIVERED, storev1.State_STATE_RELAYED, storev1.State_STATE_BOUNCED,
		storev1.State_STATE_EXPANDED, storev1.State_STATE_DISCARDED:
		return true
	}
	return false
}

// SweepOf says which recipients a sweep takes.
type SweepOf uint8

// What a sweep takes: all that is due, or that of one destination while work for the other cannot be taken on.
const (
	SweepAll SweepOf = iota
	SweepLocal
	SweepRemote
)

// Due is what a sweep found: hints for the bus.
type Due struct {
	Local  []*mailv1.LocalWork
	Remote []*mailv1.RemoteWork
	// Rows is how many recipients they stand for: as many as the sweep's limit where there may be more.
	Rows int
}

// OutboxMaxWait bounds the wait before a child that the router has not recorded is published again.
const OutboxMaxWait = 10 * time.Minute

// OutboxChild is a message that waits in the outbox until the ledger has its row.
type OutboxChild struct {
	Owner []byte
	ID    envelope.QueueID
	// Payload is an encoded mailv1.Accepted.
	Payload []byte
	// Tries is how often it was taken before.
	Tries uint32
}

// Known says what the ledger knows of a message.
type Known struct {
	Found  bool
	BlobID []byte
}

// Checkpoint is how far an incarnation's frames are accounted for.
type Checkpoint struct {
	blob.Position
	// Done tells that the incarnation is dead and nothing lies behind.
	Done bool
}

// Passed tells whether the frame at id lies before the checkpoint.
func (c Checkpoint) Passed(id blob.ID) bool {
	return c.Done || (blob.Position{Segment: id.Segment, Offset: id.Offset}).Before(c.Position)
}

// Decision is what was decided about a frame beyond recovery's horizon.
type Decision uint8

// Decisions. NotWithheld is that of a frame that was never noted.
const (
	NotWithheld Decision = iota
	// Undecided waits for an operator: an alarm.
	Undecided
	// Released lets recovery publish it.
	Released
	// Discarded leaves it, on record.
	Discarded
)

// Withheld is a frame beyond recovery's horizon.
type Withheld struct {
	ID     envelope.QueueID
	BlobID blob.ID
}

// Account is what the auditor compares of one message.
type Account struct {
	ID       envelope.QueueID
	BlobID   []byte
	Kind     mailv1.Kind
	Accepted time.Time
	Recorded time.Time
	// Envelope is how many recipients the envelope has: rows with higher numbers were added by aliases.
	Envelope uint32
	Rows     []AccountRow
}

// AccountRow is one recipient, in the order of numbers.
type AccountRow struct {
	Number uint32
	State  storev1.State
	// Local tells that delivery is into a mailbox here.
	Local bool
	// Filed tells that the index has the recipient's dedupe row: it is in a mailbox, or was.
	Filed bool
}

// Has tells whether there is a row for a recipient number.
func (a *Account) Has(number uint32) bool {
	// Numbers are dense as a rule, so that the row stands at its own number.
	if int(number) < len(a.Rows) && a.Rows[number].Number == number {
		return true
	}
	for _, r := range a.Rows {
		if r.Number == number {
			return true
		}
	}
	return false
}
