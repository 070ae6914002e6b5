// Package bus carries work between the roles over NATS JetStream, embedded or external: the same streams, the same code.
//
// It carries work, never the only copy: whatever is lost here is found again in the blob store and the ledger. Delivery is
// at least once. Subjects hold a partition, never a name of a message, user or domain; partitions are for locality and
// fairness, so their number may change at any time.
package bus

import (
	"strconv"
)

// Subject is the base of a stream's subjects: "mail.accepted" stands for mail.accepted.<partition>.
type Subject string

// Work subjects, with the type of their payload.
const (
	// Accepted carries mailv1.Accepted that the filter has not judged.
	Accepted Subject = "mail.accepted"
	// Filtered carries mailv1.Accepted for the router.
	Filtered Subject = "mail.filtered"
	// Local carries mailv1.LocalWork for local delivery.
	Local Subject = "mail.local"
	// Remote carries mailv1.RemoteWork for remote delivery.
	Remote Subject = "mail.remote"
)

// WorkSubjects lists them in the order of the path.
var WorkSubjects = []Subject{Accepted, Filtered, Local, Remote}

const (
	// deadSubject carries mailv1.DeadLetter: poison work, until an operator looks.
	deadSubject = "mail.dead"
	// tracePrefix carries mailv1.TraceBatch behind a stage: trace.smtp, trace.router …
	tracePrefix = "trace."
	// followPrefix carries mailv1.TraceEvent behind a queue id; never stored.
	followPrefix = "follow."
	// changedPrefix carries mailv1.MailboxChanged behind an account id; never stored.
	changedPrefix = "mailbox.changed."
)

// Counts carries limitsv1.Counts: what each process counts of its clients; never stored.
const Counts = "limits.counts"

// Bans is the bucket of the clients that the farm does not talk to: adminv1.Ban by network.
const Bans = "bans"

// TraceAll matches the batches of all stages.
const TraceAll = tracePrefix + ">"

// ChangedAll matches the change notices of all accounts.
const ChangedAll = changedPrefix + "*"

// Trace is the subject of a stage's batches.
func Trace(stage string) string { return tracePrefix + stage }

// Follow is the subject of one message's events.
func Follow(queueID string) string { return followPrefix + queueID }

// Changed is the subject of an account's change notices.
func Changed(account uint64) string { return changedPrefix + strconv.FormatUint(account, 10) }

func partitionSubject(s Subject, p int) string { return string(s) + "." + strconv.Itoa(p) }
