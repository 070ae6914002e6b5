package index

import (
	"context"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// MaxMailboxes is how many mailboxes, and how many subscriptions, an account can have: 10,000 of somebody's own, with those
// that every account has and the levels above. A List of so many with the longest names fits one response.
const MaxMailboxes = 20_000

// MaxLevels is how many levels a name can have.
const MaxLevels = 20

// Inbox is the name of the mailbox that every account has (RFC 9051 §5.1).
const Inbox = "INBOX"

// Mailboxes keeps the mailboxes of accounts. Its methods may be called at once from many goroutines.
//
// Names are as services/store checked them: UTF-8 in NFC, "/" between levels, INBOX in upper case.
// An account that was never touched has its standard folders as soon as any method that writes, or List, is called for it.
// MODSEQ is one counter per account; every call that changes something raises it by one, and all that it changed
// carries that number (RFC 7162 §3.1). What a method returns without error is durable.
type Mailboxes interface {
	// Deliver files messages, each exactly once per (account, queue id, number): the first call files and says
	// Delivered, and every later one changes nothing and says Duplicate with the same email, mailbox and UID. The ledger
	// row of the recipient becomes final in the same step, and the children enter the outbox. One result per delivery,
	// in order; an error tells that none has an outcome that is known.
	Deliver(ctx context.Context, deliveries []Delivery) ([]DeliverResult, error)

	// List tells all mailboxes, those that are only subscribed to or only a parent among them, in the order of
	// their names with INBOX first, and the account's MODSEQ.
	List(ctx context.Context, account mailbox.AccountID) ([]Mailbox, mailbox.ModSeq, error)
	// Find tells the mailboxes of some names, then those of some ids, in order. What is not there has ID 0.
	Find(ctx context.Context, account mailbox.AccountID, names []string, ids []mailbox.ID) ([]Found, error)
	// Create makes a mailbox and the levels above it. ErrExists, ErrMailboxes.
	Create(ctx context.Context, account mailbox.AccountID, name, specialUse string) (Mailbox, mailbox.ModSeq, error)
	// Delete removes a mailbox with its entries; its inferiors stay. ErrNoMailbox, ErrRefused for INBOX.
	Delete(ctx context.Context, account mailbox.AccountID, name string) (mailbox.ModSeq, error)
	// Rename moves a mailbox and its inferiors to another name, making the levels above it; INBOX stays and gives its
	// entries to a new mailbox (RFC 9051 §6.3.6). ErrNoMailbox, ErrExists, ErrRefused, ErrMailboxes; ErrOverQuota where a folder
	// above the new name has no room for them.
	Rename(ctx context.Context, account mailbox.AccountID, from, to string) (mailbox.ModSeq, error)
	// Subscribe puts a name on the list of subscriptions or takes it off, whether or not the mailbox exists
	// (RFC 9051 §6.3.7). ErrMailboxes.
	Subscribe(ctx context.Context, account mailbox.AccountID, name string, subscribed bool) (mailbox.ModSeq, error)

	// Snapshot calls each with the pages of a mailbox as it is at one moment. ErrNoMailbox, and whatever each returns.
	Snapshot(ctx context.Context, q SnapshotQuery, each func(*Page) error) error
	// Emails tells the immutable data of emails, in the order asked for; what the account does not have is left out.
	Emails(ctx context.Context, account mailbox.AccountID, emails []mailbox.EmailID, withPartIndex bool) ([]Email, error)
	// SetPartIndex replaces the part index of an email by one of another version. An email that is not there is passed over.
	SetPartIndex(ctx context.Context, account mailbox.AccountID, email mailbox.EmailID, partIndex []byte) error

	// Flag changes flags. Entries that have them so already keep their MODSEQ. ErrNoMailbox, ErrKeywords.
	Flag(ctx context.Context, change FlagChange) (FlagResult, error)
	// Copy makes entries of the same emails at the end of target, with flags and received times, all or nothing.
	// ErrNoMailbox for either mailbox, ErrOverQuota, ErrCondemned, ErrKeywords.
	Copy(ctx context.Context, account mailbox.AccountID, source mailbox.ID, uids mailbox.UIDSet, target string) (CopyResult, error)
	// Move is Copy and a forced Expunge in one step, without asking for room (RFC 6851 §3.3). The errors are Copy's.
	Move(ctx context.Context, account mailbox.AccountID, source mailbox.ID, uids mailbox.UIDSet, target string) (CopyResult, error)
	// CopyBy is Copy, or Move, by somebody who is not the owner.
	CopyBy(ctx context.Context, c Copying) (CopyResult, error)
	// Expunge removes those of uids that carry \Deleted, or with force all of them. ErrNoMailbox.
	Expunge(ctx context.Context, account mailbox.AccountID, mbox mailbox.ID, uids mailbox.UIDSet, force bool) (ExpungeResult, error)
	// ExpungeDeleted removes all that carry \Deleted. Where likely is all of them, as the caller thinks, nothing else is looked
	// through. ErrNoMailbox.
	ExpungeDeleted(ctx context.Context, account mailbox.AccountID, mbox mailbox.ID, likely mailbox.UIDSet) (ExpungeResult, error)
	// Append makes new emails and puts entries of them at the end of a mailbox, all or nothing. The frames are durable
	// already. ErrNoMailbox, ErrOverQuota, ErrKeywords, ErrCondemned.
	Append(ctx context.Context, account mailbox.AccountID, name string, messages []Message) (AppendResult, error)

	Appender

	// Counters tells the MODSEQ of accounts, in order; 0 for one that was never touched.
	Counters(ctx context.Context, accounts []mailbox.AccountID) ([]mailbox.ModSeq, error)
}

// Leases are named locks with an expiry on the database's clock.
type Leases interface {
	// Acquire takes the lease, or renews it for the holder that has it, for a duration from now. It tells who has it
	// afterwards: someone else than holder where it is taken.
	Acquire(ctx context.Context, name, holder string, d time.Duration) (string, error)
	// Release gives the lease back if holder has it.
	Release(ctx context.Context, name, holder string) error
}

// Message is what Deliver and Append file.
type Message struct {
	Blob blob.ID
	// Overlay is nil where the body is shown as it is stored.
	Overlay *mailv1.Overlay
	// PartIndex is internal/message's encoding, its version first.
	PartIndex []byte
	// Size is the stored body's, octets, without overlay.
	Size int64
	// Received is INTERNALDATE; entries keep its seconds.
	Received time.Time
	// Flags are system flags ("\Seen") and keywords, without repetition; used by Append only.
	Flags []string
}

// VisibleSize is what a reader sees: the body with its overlay applied, octets.
func (m *Message) VisibleSize() int64 {
	if m.Overlay == nil {
		return m.Size
	}
	return message.OverlayFrom(m.Overlay).Size(m.Size)
}

// Delivery is a recipient's whole outcome.
type Delivery struct {
	QueueID    envelope.QueueID
	Number     uint32
	Generation uint32
	Account    mailbox.AccountID
	Message
	// Placements say where; none means INBOX.
	Placements []Placement
	// Children are messages that this delivery gives rise to; their frames are durable.
	Children []*mailv1.Accepted
}

// Placement names a mailbox by special use or by name; one that does not exist is made when Create is set, and is INBOX otherwise.
type Placement struct {
	// SpecialUse is "\Junk" and so on (RFC 6154); empty: Name counts.
	SpecialUse string
	// Name empty: INBOX.
	Name   string
	Create bool
	// Flags as in Message.
	Flags []string
}

// DeliverStatus is what became of a delivery.
type DeliverStatus uint8

// What becomes of deliveries; the numbers are mailfarm.store.v1.DeliverStatus's.
const (
	Delivered DeliverStatus = 1
	// Duplicate was delivered before, with the same effect.
	Duplicate DeliverStatus = 2
	// Failed is to be tried again later; Err tells why.
	Failed DeliverStatus = 3
	// OverQuota is to be tried again when the account has room.
	OverQuota DeliverStatus = 4
	// Stale is final by another way, held, or has another generation: the work is to be dropped.
	Stale DeliverStatus = 5
	// NoAccount was dropped: nobody will ever have it (ErrDropped).
	NoAccount DeliverStatus = 6
)

// DeliverResult is the outcome of one delivery. Email, Mailbox and UID are set where it was delivered; they are those of
// the first placement.
type DeliverResult struct {
	Status  DeliverStatus
	Email   mailbox.EmailID
	Mailbox mailbox.ID
	UID     mailbox.UID
	Err     error
	// Changed and ModSeq are what to notify: the mailboxes that this call changed for the account of this delivery.
	Changed []mailbox.ID
	ModSeq  mailbox.ModSeq
}

// Mailbox is a mailbox with its counters.
type Mailbox struct {
	// ID 0: the name is only subscribed to or only a parent.
	ID            mailbox.ID
	Name          string
	SpecialUse    string
	Subscribed    bool
	UIDValidity   mailbox.UIDValidity
	UIDNext       mailbox.UID
	HighestModSeq mailbox.ModSeq
	Messages      uint32
	Unseen        uint32
	Deleted       uint32
	// Size is the sum of what the messages measure with their overlays, octets.
	Size int64
	// Keywords: bit mailbox.KeywordShift+i of an entry's flags stands for Keywords[i]. A name that no entry has may have given
	// its place to another since an earlier look.
	Keywords []string
	// RecentUID: entries from this UID on have not been shown to any session yet.
	RecentUID mailbox.UID
}

// Found is a mailbox as Find tells it.
type Found struct {
	Mailbox
	// Children tells that mailboxes lie below.
	Children bool
}

// SnapshotQuery asks for a mailbox.
type SnapshotQuery struct {
	Account mailbox.AccountID
	Mailbox mailbox.ID
	// Since 0 asks for everything; otherwise for chunks that changed after it and UIDs expunged after it.
	Since mailbox.ModSeq
	// TakeRecent moves the \Recent mark behind all that there is; the page tells where it was.
	TakeRecent bool
	// Reader is who reads, where that is not the owner.
	Reader Reader
	// Recall, where it is set, tells what FlagsTold told of all changes from one HIGHESTMODSEQ of the mailbox to another: false
	// where it does not know all of them, or where they changed more than flags. What it knows is not read.
	Recall func(from, to mailbox.ModSeq) ([]mailbox.Packed, bool)
}

// Recalled gives the pages of what is known already: page is the first.
func (q *SnapshotQuery) Recalled(page *Page, each func(*Page) error) (bool, error) {
	if q.Recall == nil || q.Since == 0 || q.Reader.Account != 0 {
		return false, nil
	}
	chunks, known := q.Recall(q.Since, page.Mailbox.HighestModSeq)
	if !known {
		return false, nil
	}
	for len(chunks) > PageChunks {
		page.Chunks, page.FlagsOnly = chunks[:PageChunks], true
		if err := each(page); err != nil {
			return true, err
		}
		page, chunks = &Page{}, chunks[PageChunks:]
	}
	page.Chunks, page.FlagsOnly, page.Done = chunks, true, true
	return true, each(page)
}

// PageChunks is how many chunks a page has at most.
const PageChunks = 32

// Page is a part of a snapshot.
type Page struct {
	// Mailbox is set in the first page.
	Mailbox *Mailbox
	// Chunks in UID order, also from page to page. each may keep them.
	Chunks []mailbox.Packed
	// Expunged are UIDs removed after Since, perhaps some more; in the first page.
	Expunged mailbox.UIDSet
	// Done marks the last page; Complete tells that the pages are the whole mailbox although Since was given.
	Done, Complete bool
	// FlagsOnly tells that Chunks have the columns of FlagsTold alone, and that nothing else changed.
	FlagsOnly bool
}

// Email is the immutable data of a message in an account.
type Email struct {
	ID        mailbox.EmailID
	Thread    mailbox.ThreadID
	Blob      blob.ID
	Overlay   *mailv1.Overlay
	PartIndex []byte
	Size      int64
	Received  time.Time
}

// VisibleSize is what a reader sees, and what entries say: the body with its overlay applied, octets.
func (e *Email) VisibleSize() int64 {
	m := Message{Size: e.Size, Overlay: e.Overlay}
	return m.VisibleSize()
}

// FlagMode is how flags are changed.
type FlagMode uint8

// The modes; the numbers are mailfarm.store.v1.FlagMode's.
const (
	AddFlags     FlagMode = 1
	RemoveFlags  FlagMode = 2
	ReplaceFlags FlagMode = 3
)

// Copying says what is copied where, by whom.
type Copying struct {
	Account mailbox.AccountID
	Source  mailbox.ID
	UIDs    mailbox.UIDSet
	Target  string
	// Move takes out of the source what was copied.
	Move bool
	// Reader is who copies: his own flags are on the copies in the same step. Deny are flags that copies do not get.
	Reader Reader
	Deny   mailbox.Flags
}

// FlagChange is a STORE (RFC 9051 §6.4.6).
type FlagChange struct {
	Account mailbox.AccountID
	Mailbox mailbox.ID
	// UIDs that are not there are passed over.
	UIDs  mailbox.UIDSet
	Mode  FlagMode
	Flags []string
	// UnchangedSince, where Conditional is set, leaves entries alone whose MODSEQ is higher (RFC 7162 §3.1.3).
	UnchangedSince mailbox.ModSeq
	Conditional    bool
	// Keep are flags that stay as they are, whatever Mode says: not everybody may change all.
	Keep mailbox.Flags
	// Reader is whose flags those are that are each reader's own.
	Reader Reader
}

// FlagResult tells what a FlagChange did.
type FlagResult struct {
	// ModSeq is the account's afterwards, and that of every changed entry.
	ModSeq mailbox.ModSeq
	// Changed tells whether any entry was.
	Changed bool
	// Modified are the UIDs that UnchangedSince kept back.
	Modified mailbox.UIDSet
	// Told is all that the change did to the mailbox: nil where flags are a reader's own, or where it is more than FlagsToldMax.
	Told *FlagsTold
}

// FlagsToldMax is how many octets of columns a FlagResult tells at most.
const FlagsToldMax = 512 << 10

// FlagsTold are flags as a change left them; whoever knew the mailbox before has all of it with them.
type FlagsTold struct {
	// Before and HighestModSeq are the mailbox's, before the change and after it.
	Before, HighestModSeq mailbox.ModSeq
	// Keywords are the mailbox's.
	Keywords []string
	// Chunks are those that changed, in the order of their UIDs: FirstUID, MaxModSeq, Flags and ModSeqs alone.
	Chunks []mailbox.Packed
}

// CopyResult pairs UIDs in ascending order (RFC 4315 §3).
type CopyResult struct {
	Target         mailbox.ID
	UIDValidity    mailbox.UIDValidity
	Source, Copies mailbox.UIDSet
	ModSeq         mailbox.ModSeq
}

// ExpungeResult tells what was removed.
type ExpungeResult struct {
	Expunged mailbox.UIDSet
	// ModSeq is the account's afterwards.
	ModSeq mailbox.ModSeq
	// Before and After are the mailbox's HIGHESTMODSEQ: who knew it up to the one has all of it with Expunged.
	Before, After mailbox.ModSeq
}

// AppendResult tells where messages are, in order.
type AppendResult struct {
	Mailbox     mailbox.ID
	UIDValidity mailbox.UIDValidity
	UIDs        []mailbox.UID
	ModSeq      mailbox.ModSeq
}
