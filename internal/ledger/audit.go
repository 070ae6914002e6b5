package ledger

import (
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// HourOpen is how long an hour of the ledger is taken to change as a matter of course. A message recorded with an id older
// than that notes the change of its hour; an audit keeps hours that ended twice as long ago.
const HourOpen = time.Hour

// HourOf is the hour of the ledger that an id belongs to: hours since 1970 of when it was made.
func HourOf(id envelope.QueueID) int64 { return id.Time().UnixMilli() / time.Hour.Milliseconds() }

// ChangedHour tells whether recording a message now changes an hour that may have been kept.
func ChangedHour(id envelope.QueueID, now time.Time) (hour int64, changed bool) {
	return HourOf(id), id.Time().Before(now.Add(-HourOpen))
}

// AuditHour is what is kept of the messages of one hour.
type AuditHour struct {
	Hour int64
	// Changed counts the times that messages came to the hour late, or went.
	Changed int64
	// Unit is an encoded storev1.AuditUnit; nil where nothing is kept.
	Unit []byte
}

// AuditStretch is what is kept of an incarnation's frames from First up to End.
type AuditStretch struct {
	First, End blob.Position
	// Unit is an encoded storev1.AuditUnit.
	Unit []byte
}

// AuditReport is an audit of all that there is.
type AuditReport struct {
	// Auditor is the process that made it.
	Auditor string
	// At is when it ended, Full when the latest ended that went by nothing kept.
	At, Full time.Time
	Result   *storev1.AuditResponse
}
