// Package indextest is the contract of package index, as tests that every implementation passes.
package indextest

import (
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Subject is an implementation over an empty database, with what the tests must see and do beside its methods.
type Subject struct {
	Mailboxes index.Mailboxes
	Leases    index.Leases
	// Quotas is over accounts of QuotaMessages, whose owners are told at 80 and 95 percent.
	Quotas      index.Quotas
	Domains     index.DomainQuotas
	Sharing     index.Sharing
	Annotations index.Annotations
	Imports     index.Importer
	// QuotaMessages is how many entries an account may have.
	QuotaMessages int64
	// Route enters local recipients in the ledger, or gives those that are there another state and generation.
	Route func(...Recipient) error
	// State is a recipient's in the ledger.
	State func(envelope.QueueID, uint32) (storev1.State, error)
	// Children is how many messages of a parent are in the outbox.
	Children func(parent envelope.QueueID) (int, error)
	// Condemn marks a body as about to be removed.
	Condemn func(blob.ID) error
	// Miscount makes counters of an account and its INBOX wrong.
	Miscount func(mailbox.AccountID) error
	// Advance moves the database's clock.
	Advance func(time.Duration)
	// FailAt has a function asked between the steps of every write from now on; where it gives an error, the write fails.
	FailAt func(func(step string) error)
}

// Recipient is a row of the ledger.
type Recipient struct {
	QueueID    envelope.QueueID
	Number     uint32
	Account    mailbox.AccountID
	Generation uint32
	State      storev1.State
}

// Run runs all tests; open makes a new Subject.
func Run(t *testing.T, open func(testing.TB) Subject) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, Subject)
	}{
		{"NewAccountHasItsFolders", newAccount},
		{"NoAccount", noAccount},
		{"CreateListDelete", createListDelete},
		{"Find", find},
		{"QuotaRoots", quotaRoots},
		{"QuotaPlacements", quotaPlacements},
		{"QuotaRename", quotaRename},
		{"QuotaNotices", quotaNotices},
		{"Recount", recount},
		{"DomainQuota", domainQuota},
		{"DomainQuotaPlaces", domainPlaces},
		{"DomainQuotaIsTold", domainTold},
		{"DomainQuotaAtOnce", domainAtOnce},
		{"Import", importOnce},
		{"ImportKeepsNumbers", importNumbers},
		{"ImportKeepsNumbersOfATree", importTree},
		{"ImportOverQuota", importQuota},
		{"ImportIsAllOrNothing", importFails},
		{"AppendOnce", appendOnce},
		{"AppendOnceOfCopies", appendOnceCopies},
		{"Replace", replace},
		{"Subscribe", subscribe},
		{"Rename", rename},
		{"RenameInbox", renameInbox},
		{"RenameIsRefused", renameRefused},
		{"Append", appendMessages},
		{"Quota", quota},
		{"Keywords", keywords}, {"KeywordsGivenBack", keywordsGivenBack},
		{"FlagConditional", flagConditional},
		{"FlagMany", flagMany},
		{"FlagTold", flagTold},
		{"Scattered", scattered},
		{"ExpungeDeleted", expungeDeleted},
		{"CopyAndMove", copyAndMove},
		{"MoveWithin", moveWithin},
		{"Condemned", condemned},
		{"Snapshot", snapshot},
		{"Recent", recent},
		{"Emails", emails},
		{"EmailsAmongOthers", emailsAmongOthers},
		{"Counters", counters},
		{"Conversations", conversations},
		{"Deliver", deliver},
		{"DeliverPlacements", deliverPlacements},
		{"DeliverIsStale", deliverStale},
		{"DeliverOverQuota", deliverOverQuota},
		{"AppendOwnFlags", appendOwnFlags},
		{"CopyOwnFlags", copyOwnFlags},
		{"DeliverRepeatedInBatch", deliverRepeated},
		{"DeliverFailsBetweenSteps", deliverFails},
		{"DeliverAtOnce", deliverAtOnce},
		{"Leases", leases},
		{"ACL", accessLists},
		{"ACLHints", accessHints},
		{"ACLInherited", accessInherited},
		{"Readers", readers},
		{"Annotations", annotations},
		{"AnnotationsCopied", annotationsCopied},
		{"RandomHistories", randomHistories},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}
