// Package reclaimtest is the contract of reclaim.Books as tests, and random histories of a whole mail store whose room
// is given back while it is used. Run is called for every database.
package reclaimtest

import (
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/reclaim"
)

// Subject is an empty database.
type Subject struct {
	Books     reclaim.Books
	Mailboxes index.Mailboxes
	Retention index.Retention
	Ledger    ledger.Ledger
	// Now is the database's clock, and Advance moves it.
	Now     func() time.Time
	Advance func(time.Duration)
	// Slow asks for fewer histories and faults.
	Slow bool
}

// Run runs all tests; open makes a new Subject.
func Run(t *testing.T, open func(testing.TB) Subject) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, Subject)
	}{
		{"Locations", locations},
		{"Referrers", referrers},
		{"Notes", notes},
		{"CondemnedIsRefused", condemned},
		{"Work", work},
		{"FinishForgets", finishForgets},
		{"State", states},
		{"Purge", purge},
		{"PurgeKeepsCopies", purgeKeepsCopies},
		{"BodyOfAChildInTheOutbox", childInOutbox},
		{"PardonAtLast", pardonAtLast},
		{"LateMoveLoses", lateMove},
		{"UnreadableSegment", unreadableSegment},
		{"Concurrent", concurrent},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
	if raced {
		return // what follows is long, ten times as long then, and does one thing after another
	}
	t.Run("Churn", func(t *testing.T) { churn(t, open(t)) })
	t.Run("EveryStepFails", func(t *testing.T) { everyStepFails(t, open) })
	t.Run("Histories", func(t *testing.T) { histories(t, open) })
}

// id is a frame of 100 octets.
func id(segment, offset uint32) blob.ID {
	return blob.ID{Incarnation: 7, Segment: segment, Offset: offset, Length: 100}
}
