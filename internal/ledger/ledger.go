package ledger

import (
	"context"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Limits and defaults of a ledger.
const (
	// FirstDue is when a new row that nobody was hinted of is swept: a crash between row and hint costs this much time.
	FirstDue = time.Minute
	// ListDefault and ListMax bound what one List returns.
	ListDefault = 1000
	ListMax     = 100_000
	// ListPage is how many entries List hands over at once.
	ListPage = 100
	// LeaseMax bounds the lease of a claim; LeaseDefault stands for one that was not given.
	LeaseMax     = time.Hour
	LeaseDefault = 5 * time.Minute
	// ReplyMax is how many octets of a reply are kept.
	ReplyMax = 1024
)

// Ledger keeps the rows. Its methods may be called at once from many goroutines; batches are the normal case, and answers
// come in the order of the request. What a method that writes has returned without error is durable. After an error
// nothing was written, except that when ctx ended first the outcome is unknown; every method may be repeated.
type Ledger interface {
	Hot
	Operator
	Queue
	Accounts
}

// Hot is what router and delivery call.
type Hot interface {
	// Record enters routed messages with their recipients, and their children in the outbox.
	//
	// A message that is there already stays as it is: its result tells the rows that stand. If it is there with another
	// blob, the result of an accepted message is a conflict; a generated one keeps the first. Recipients in state queued
	// get a due time (FirstDue where they have none). Every recipient of the envelope must have its row: ErrInvalid.
	Record(ctx context.Context, messages []*storev1.Routed) ([]*storev1.RecordResult, error)
	// Load reads messages with their recipients; an entry without message where the ledger does not know the id.
	Load(ctx context.Context, ids [][]byte) ([]*storev1.LedgerEntry, error)
	// Claim takes the queued remote recipients of each (message, group, generation) for req.Owner, until the lease ends
	// on the ledger's clock. What another owner holds under a running lease is not taken. A repeat by the same owner
	// gives the same. With renew only what owner holds is lengthened: a claim that ran out but that neither sweep nor
	// another owner took since is still held.
	Claim(ctx context.Context, req *storev1.ClaimRequest) ([]*storev1.Claimed, error)
	// Report enters outcomes. All recipients of a report must be queued, have its generation, and be claimed by its owner
	// (for an empty owner: by nobody whose lease runs); else nothing of that report is written and it is not accepted.
	// Children go to the outbox, then states change, in one step. State queued means deferred: due at due_ns, or at its
	// expiry if that is sooner, under a new generation. An outcome without reply counts as no attempt.
	Report(ctx context.Context, reports []*storev1.Report) ([]*storev1.ReportResult, error)
}

// Operator is what people call.
type Operator interface {
	// List hands over messages that match all conditions, newest first, in pages of at most ListPage.
	// An error of each ends it and is returned.
	List(ctx context.Context, q *storev1.QueueListRequest, each func([]*storev1.LedgerEntry) error) error
	// Act changes recipients that are not final and that no running claim holds, and tells how many. Retry makes queued and
	// dead ones due now; hold stops queued ones; release queues held and quarantined ones, and lets recovery publish frames
	// beyond its horizon; delete discards, on record.
	Act(ctx context.Context, req *storev1.ActRequest) (uint32, error)
}

// Queue is what the workers of the store call to keep work going.
type Queue interface {
	// Sweep takes at most limit queued recipients that are due, longest first, puts their due time off by again, and
	// returns hints for them. Those whose claim ran out get a new generation.
	Sweep(ctx context.Context, limit int, again time.Duration) (Due, error)
	// TakeOutbox takes at most limit children that are due, and puts their due time off by again, doubled for each time
	// they were taken before, at most OutboxMaxWait.
	TakeOutbox(ctx context.Context, limit int, again time.Duration) ([]OutboxChild, error)
	// DropOutbox removes children whose messages the ledger has.
	DropOutbox(ctx context.Context, children []OutboxChild) error
	// Waiting tells of each message whether it stands in the outbox.
	Waiting(ctx context.Context, ids [][]byte) ([]bool, error)
	// Known tells of each message whether the ledger has its row.
	Known(ctx context.Context, ids [][]byte) ([]Known, error)
}

// Accounts is what recovery, auditor and pruning call.
type Accounts interface {
	// Checkpoints tells how far recovery has accounted for each incarnation.
	Checkpoints(ctx context.Context) (map[uint64]Checkpoint, error)
	// SaveCheckpoint moves a checkpoint forward; one that is further already stays.
	SaveCheckpoint(ctx context.Context, c Checkpoint) error
	// Withhold notes frames beyond recovery's horizon, so that the checkpoint may pass them. One noted before stays.
	Withhold(ctx context.Context, frames []Withheld) error
	// Withheld lists noted frames with a decision, oldest first, from behind an id, at most limit.
	Withheld(ctx context.Context, d Decision, after envelope.QueueID, limit int) ([]Withheld, error)
	// Decisions tells of each id whether it is noted, and what was decided.
	Decisions(ctx context.Context, ids [][]byte) ([]Decision, error)
	// DropWithheld forgets notes, once the ledger has the messages' rows.
	DropWithheld(ctx context.Context, ids [][]byte) error

	// Walk reads at most limit messages behind an id in the order of ids, with what the auditor compares.
	Walk(ctx context.Context, after envelope.QueueID, limit int) ([]Account, error)
	// Outbox reads at most limit children behind one, in the order of their owners and ids; the zero value is before all.
	Outbox(ctx context.Context, after OutboxChild, limit int) ([]OutboxChild, error)
	// Accounts reads messages by their ids, nil where the ledger does not know one.
	Accounts(ctx context.Context, ids [][]byte) ([]*Account, error)

	// Prune removes at most limit messages whose rows the rule lets go, each with all that descends from it, their dedupe
	// rows and recipients. It notes the rule's Before first. More is true where it stopped at limit.
	Prune(ctx context.Context, rule PruneRule, limit int) (pruned int, more bool, err error)
	// PrunedBefore is the latest Before of all rules so far: rows of messages accepted earlier may be gone.
	PrunedBefore(ctx context.Context) (time.Time, error)
}
