package index

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// MaxUIDL is the longest unique-id of POP3, octets (RFC 1939 §7).
const MaxUIDL = 70

// Importer files messages that come from elsewhere, once each, with what they were known by there.
type Importer interface {
	// Import files the messages whose keys were not imported into the mailbox before, all or nothing. The frames are durable
	// already. ErrNoMailbox unless Create is set, ErrMailboxes, ErrOverQuota, ErrCondemned, ErrUIDs.
	Import(ctx context.Context, q Import) (ImportResult, error)
	// Imported tells what became of keys, in their order; the status is 0 for those that were never imported. A mailbox that
	// is not there has ID 0 and none of them.
	Imported(ctx context.Context, account mailbox.AccountID, name string, keys []ImportKey) (Mailbox, []Imported, error)
	// UIDLs tells the unique-ids that messages behind a UID were imported with, in the order of their UIDs, at most limit.
	UIDLs(ctx context.Context, account mailbox.AccountID, box mailbox.ID, after mailbox.UID, limit int) ([]UIDL, error)
}

// ImportKey is by what an importer knows a message, shortened.
type ImportKey [16]byte

// NewImportKey shortens a key of any length.
func NewImportKey(key []byte) (k ImportKey) {
	sum := sha256.Sum256(key)
	copy(k[:], sum[:])
	return k
}

// Import is a batch of messages for one mailbox.
type Import struct {
	Account mailbox.AccountID
	Name    string
	// Create makes the mailbox where it is not there; SpecialUse, unless another mailbox has it, and Subscribed are for that.
	Create     bool
	SpecialUse string
	Subscribed bool
	// UIDValidity, where it is not 0, becomes the mailbox's while that has no message, unless another one has it or had it.
	UIDValidity mailbox.UIDValidity
	// UIDNext, where it is not 0 and UIDValidity is kept, is what the mailbox's is at least afterwards.
	UIDNext mailbox.UID
	// OverQuota files without asking for room.
	OverQuota bool
	// Again files what was imported before and is not in the mailbox any more.
	Again    bool
	Messages []ImportMessage
}

// ImportMessage is one message.
type ImportMessage struct {
	Message
	Key ImportKey
	// Saved is SAVEDATE; zero: now.
	Saved time.Time
	// UID 0: the next one. It is kept where UIDVALIDITY is, and it is not below UIDNEXT.
	UID mailbox.UID
	// UIDL is what POP3 calls the message, or empty.
	UIDL string
}

// The largest numbers that an import may keep: behind them there is room for a database's new timelines and for the mail to come.
const (
	MaxKeptValidity = mailbox.UIDValidity(1<<32 - 1<<24)
	MaxKeptUID      = mailbox.UID(1<<32 - 1<<24)
)

// ImportStatus is what became of a message.
type ImportStatus uint8

// What becomes of messages; the numbers are mailfarm.store.v1.ImportStatus's.
const (
	// ImportFiled is what this call did.
	ImportFiled ImportStatus = 1
	// ImportPresent was imported before and is there.
	ImportPresent ImportStatus = 2
	// ImportGone was imported before, and removed or moved elsewhere since.
	ImportGone ImportStatus = 3
)

// Imported is what became of one message.
type Imported struct {
	Status ImportStatus
	UID    mailbox.UID
	// KeywordsLeftOut tells that the mailbox has no room for them.
	KeywordsLeftOut bool
}

// ImportResult is what became of a batch.
type ImportResult struct {
	Mailbox     mailbox.ID
	UIDValidity mailbox.UIDValidity
	// Kept tells that UIDValidity is the one that was asked for, Made that the mailbox was made, and Changed that anything was.
	Kept, Made, Changed bool
	// Over tells that the account is over its limits.
	Over     bool
	ModSeq   mailbox.ModSeq
	Messages []Imported
}

// UIDL is what POP3 calls a message.
type UIDL struct {
	UID  mailbox.UID
	UIDL string
}

// ValidUIDL tells whether POP3 can call a message so: 1 to 70 octets from 0x21 to 0x7E (RFC 1939 §7).
func ValidUIDL(s string) bool {
	if len(s) == 0 || len(s) > MaxUIDL {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
