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
	Audits
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
	// Children go to the outbox, then states change, in one step. State queued means deferred: due as DueAt tells, under a new
	// generation. An outcome without reply counts as no attempt.
	Report(ctx context.Context, reports []*storev1.Report) ([]*storev1.ReportResult, error)
}

// Operator is what people call.
type Operator interface {
	// List hands over messages that match all conditions (search.Matches), newest first, in pages of at most ListPage.
	// An error of each ends it and is returned.
	List(ctx context.Context, q *storev1.QueueListRequest, each func([]*storev1.LedgerEntry) error) error
	// Act changes recipients that are not final and that no running claim holds, and tells how many. Retry makes queued and
	// dead ones due now; hold stops queued ones; release queues held and quarantined ones, and lets recovery publish frames
	// beyond its horizon; delete discards, on record.
	Act(ctx context.Context, req *storev1.ActRequest) (uint32, error)
}

// Queue is what the workers of the store call to keep work going.
type Queue interface {
	// Sweep takes at most limit queued recipients of a destination that are due, longest first, puts their due time off by
	// again, and returns hints for them. Those whose claim ran out get a new generation.
	Sweep(ctx context.Context, of SweepOf, limit int, again time.Duration) (Due, error)
	// TakeOutbox takes at most limit children that are due, and puts their due time off by again, doubled for each time
	// they were taken before, at most OutboxMaxWait.
	TakeOutbox(ctx context.Context, limit int, again time.Duration) ([]OutboxChild, error)
	// DropOutbox removes children whose messages the ledger has.
	DropOutbox(ctx context.Context, children []OutboxChild) error
	// Waiting tells of each message whether it stands in the outbox.
	Waiting(ctx context.Context, ids [][]byte) ([]bool, error)
	// Known tells of each message whether the ledger has its row.
	Known(ctx context.Context, ids [][]byte) ([]Known, error)
	// Depth counts what waits, each kind up to DepthMax.
	Depth(ctx context.Context) (Depth, error)
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
	// FillSearch makes what messages of an older schema are found by, for at most limit of them; until there is no more of
	// them List is slow. More is true where it may be called again at once.
	FillSearch(ctx context.Context, limit int) (more bool, err error)
	// PrunedBefore is the latest Before of all rules so far: rows of messages accepted earlier may be gone.
	PrunedBefore(ctx context.Context) (time.Time, error)
}

// Audits is what audits leave for later ones, so that what is settled is not looked at again and again.
type Audits interface {
	// AuditHours reads what is kept of the ledger's hours, and which of them changed.
	AuditHours(ctx context.Context) (map[int64]AuditHour, error)
	// KeepHour keeps the unit of an hour, unless the hour has changed since h was read.
	KeepHour(ctx context.Context, h AuditHour) error
	// AuditStretches reads what is kept of an incarnation's segments, in their order.
	AuditStretches(ctx context.Context, incarnation uint64) ([]AuditStretch, error)
	// KeepStretches replaces what is kept of an incarnation between the first one's First and the last one's End.
	KeepStretches(ctx context.Context, stretches []AuditStretch) error
	// ForgetSegment drops what is kept of a segment, because it was removed or written anew.
	ForgetSegment(ctx context.Context, incarnation uint64, segment uint32) error
	// SaveAudit and LastAudit keep the latest audit of all, for every process to show. LastAudit is zero before the first.
	SaveAudit(ctx context.Context, a AuditReport) error
	LastAudit(ctx context.Context) (AuditReport, error)
}
