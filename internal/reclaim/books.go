package reclaim

import (
	"context"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// Books is what the database knows about frames; index/sqlite and index/postgres keep it. IDs are first IDs, which rows
// refer to; a place is where a frame lies now. Methods may be called at once from many goroutines, and repeated; what one
// that writes has returned without error is durable.
type Books interface {
	blob.Locator
	// Move notes where frames were copied to, each where it still is at From and To is not condemned, and tells which
	// those were. From is the first ID of a frame that was never moved.
	Move(ctx context.Context, moves []Move) ([]bool, error)

	// Segment tells what refers to the frames of a segment, as of one moment. Referrers are looked for in the order that
	// a message goes through them, so that one on its way from one to the next is seen.
	Segment(ctx context.Context, incarnation uint64, segment uint32) (*Referrers, error)
	// InUse tells of each frame whether a row refers to it: an email, a message with a recipient that is not final, or a
	// note of recovery that is undecided or released. The outbox and shared bodies are the caller's to look at.
	InUse(ctx context.Context, ids []blob.ID) ([]bool, error)

	// Note keeps what a scan found out about frames, once each. Recovery calls it before its checkpoint passes them.
	Note(ctx context.Context, shares []Share, aparts []Apart) error
	// Gaps lists incarnations with frames that recovery passed before Note was called for them, and CloseGap forgets one.
	Gaps(ctx context.Context) ([]uint64, error)
	CloseGap(ctx context.Context, incarnation uint64) error

	// Condemn keeps transactions from newly referring to frames, and Pardon lets them again.
	Condemn(ctx context.Context, ids []blob.ID) error
	Pardon(ctx context.Context, ids []blob.ID) error
	// Freed notes that the bodies apart of frames at these places are gone.
	Freed(ctx context.Context, places []blob.ID) error

	// Work lists the segments in hand, oldest first.
	Work(ctx context.Context) ([]Work, error)
	// Begin enters a segment, or changes what is to be done with it, as of now on the database's clock.
	Begin(ctx context.Context, incarnation uint64, segment uint32, step Step) error
	// Drop takes a segment out of hand; it stays as it is.
	Drop(ctx context.Context, incarnation uint64, segment uint32) error
	// Finish forgets a segment that was removed, and all that was noted of frames that went with it.
	Finish(ctx context.Context, incarnation uint64, segment uint32) error

	// State reads what SaveState keeps for the worker, nil at first, and when somebody last asked for a round.
	State(ctx context.Context) (state []byte, asked time.Time, err error)
	SaveState(ctx context.Context, state []byte) error
	// Ask asks the worker, whichever process has it, for a round.
	Ask(ctx context.Context) error

	// Purge forgets which UIDs were expunged before a time, for at most limit accounts that have anything expunged before due
	// and are not under legal hold: tombstones go and purged_mod_seq grows (RFC 7162). Messages are kept for undelete by
	// index.Retention, which ends their time; emails go here that old tombstones alone name: those written before there was
	// undelete. more is true where it stopped at limit, which an account that fails does not keep it from.
	Purge(ctx context.Context, due, before time.Time, limit int) (purged Purged, more bool, err error)
}

// Move is a frame that was copied from one place to another.
type Move struct {
	First, From, To blob.ID
}

// Share is a frame that has another one's body.
type Share struct {
	Owner, Child blob.ID
}

// Apart is a frame whose body lies apart, at its place: a copy of it is another one, with another body.
type Apart struct {
	Place blob.ID
	Bytes int64
}

// Located is a frame that was moved.
type Located struct {
	First, Place blob.ID
}

// Referrers is what the rows say about a segment.
type Referrers struct {
	// Used are the frames first written in the segment that a row refers to, as InUse has it; also ones that were moved
	// away since.
	Used []blob.ID
	// Away are the frames first written in the segment that lie elsewhere now.
	Away []blob.ID
	// Here are the frames first written elsewhere that lie in the segment now.
	Here []Located
	// Shares are those of bodies that were first written in the segment or lie here, and Condemned all such frames.
	Shares    []Share
	Condemned []blob.ID
	// Aparts have their place in the segment.
	Aparts []Apart
}

// Step is what is being done with a segment.
type Step uint8

// Steps. They are kept in the database: numbers stay.
const (
	// Bodies waits for the restore window to remove dead bodies that lie apart.
	Bodies Step = 1
	// Dead waits until what is condemned can be looked at again; then what lives is copied.
	Dead Step = 2
	// Empty waits for the restore window, and is removed then.
	Empty Step = 3
	// Stuck holds something that lives and cannot be copied; it stays, and is looked at again with every restart of the step.
	Stuck Step = 4
)

// Work is a segment in hand.
type Work struct {
	Incarnation uint64
	Segment     uint32
	Step        Step
	// Age is for how long it has been at this step, on the database's clock.
	Age time.Duration
}

// position is where the segment begins.
func (w Work) position() blob.Position {
	return blob.Position{Incarnation: w.Incarnation, Segment: w.Segment}
}

// Purged is what Purge removed.
type Purged struct {
	Accounts, Tombstones, Emails int
}

// Range is the first and the last ID that a frame of a segment can have, in binary form.
func Range(incarnation uint64, segment uint32) (first, last []byte) {
	const most = 1<<32 - 1
	return blob.ID{Incarnation: incarnation, Segment: segment}.Bytes(),
		blob.ID{Incarnation: incarnation, Segment: segment, Offset: most, Length: most}.Bytes()
}
