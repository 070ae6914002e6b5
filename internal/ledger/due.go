package ledger

import (
	"time"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// DueInMax bounds how long a report may defer.
const DueInMax = 365 * 24 * time.Hour

// DueAt is when what a report defers is due, with now of the ledger's clock; nanoseconds, as are all three. Whoever reports tells
// for how long, so that a clock of theirs that is wrong makes it neither longer nor shorter; an older process tells until when.
// An expiry that is still to come bounds the wait, so that what is to be given up is looked at. One that is past does not: what
// could not be given up (its DSN cannot be written, say) would come back at once, again and again.
func DueAt(o *storev1.Outcome, expiry, now int64) int64 {
	due := o.DueNs
	if o.DueInNs > 0 {
		due = now + min(o.DueInNs, DueInMax.Nanoseconds())
	}
	if expiry > now {
		due = min(due, expiry)
	}
	return due
}
