package unit

import (
	"strings"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Rows are the rows of a database as one transaction sees and writes them. What was written is seen by what is read later.
type Rows interface {
	KeepRows

	// ReadAccount fills a by its id and keeps others from writing to it until the transaction ends. It tells whether the
	// account is of the database's current timeline. ErrNoAccount where it was never touched; DropState.Err for one that
	// is on its way out, whose row is of no timeline, and for one that is gone.
	ReadAccount(a *Account) (current bool, err error)
	MakeAccount(a *Account) error
	// JumpAccount notes that the account is of the current timeline, and that what a reader saw before its MODSEQ cannot
	// be brought up to date: the reader may have seen what was lost.
	JumpAccount(a *Account) error
	SaveAccount(a *Account) error
	// MakeSubscriptions is for a new account.
	MakeSubscriptions(a *Account, names []string) error
	// Subscribe and Unsubscribe tell whether anything changed.
	Subscribe(a *Account, name string) (bool, error)
	Unsubscribe(a *Account, name string) (bool, error)
	Subscriptions(a *Account) (int, error)

	// The mailbox of an id, a name, a special use: ErrNoMailbox.
	BoxByID(a *Account, id mailbox.ID) (*Box, error)
	BoxNamed(a *Account, name string) (*Box, error)
	BoxFor(a *Account, specialUse string) (*Box, error)
	AllBoxes(a *Account) ([]*Box, error)
	CountBoxes(a *Account) (int, error)
	MakeBox(b *Box) error
	// SaveBox writes everything but id, name and special use.
	SaveBox(b *Box) error
	RenameBox(b *Box, name string) error
	DropBox(b *Box) error

	ACLRows
	AnnotationRows
	ReaderRows

	// LastChunk unpacks the last chunk into c, and tells whether there is one.
	LastChunk(b *Box, c *mailbox.Chunk) (bool, error)
	// Chunks reads the chunks that may have entries in uids, in the order of their UIDs; FlagChunks without the columns
	// that UnpackFlags does not need.
	Chunks(b *Box, uids mailbox.UIDSet) ([]mailbox.Packed, error)
	FlagChunks(b *Box, uids mailbox.UIDSet) ([]mailbox.Packed, error)
	// PutChunk writes a whole chunk, over the row it has or as a new one.
	PutChunk(b *Box, p *mailbox.Packed, stored bool) error
	// PutFlags writes the flags and MODSEQs of a chunk.
	PutFlags(b *Box, p *mailbox.Packed) error
	DropChunk(b *Box, first mailbox.UID) error
	PutTombstone(b *Box, seq mailbox.ModSeq, uids mailbox.UIDSet, emails []mailbox.EmailID) error

	QuotaRows
	OnceRows

	PutEmail(a *Account, id mailbox.EmailID, thread mailbox.ThreadID, m *index.Message, overlay []byte) error
	// LoadThreads reads the rows of message ids for Thread, at once for all that a write files.
	LoadThreads(keys []ThreadKey) error
	// Thread tells the thread of a message id that was loaded, 0 where it is not known.
	Thread(key ThreadKey) mailbox.ThreadID
	PutThread(key ThreadKey, thread mailbox.ThreadID)
	// AnyCondemned tells whether there are condemned bodies at all: hardly ever, so that one look spares many.
	AnyCondemned() (bool, error)
	// Condemned tells whether a body is, and CondemnedEmails whether that of any of the emails is.
	Condemned(id blob.ID) (bool, error)
	CondemnedEmails(a *Account, emails []mailbox.EmailID) (bool, error)
}

// BoxColumns are what ScanBox reads.
const BoxColumns = `mailbox, name, special_use, uid_validity, uid_next, highest_mod_seq, messages, unseen, deleted, size, recent_uid, keywords`

// Scanner is a row, of whatever database.
type Scanner interface{ Scan(dest ...any) error }

// ScanBox reads BoxColumns, and more behind them.
func ScanBox(row Scanner, m *index.Mailbox, more ...any) error {
	var keywords string
	err := row.Scan(append([]any{&m.ID, &m.Name, &m.SpecialUse, &m.UIDValidity, &m.UIDNext, &m.HighestModSeq, &m.Messages,
		&m.Unseen, &m.Deleted, &m.Size, &m.RecentUID, &keywords}, more...)...)
	if keywords != "" {
		m.Keywords = strings.Split(keywords, " ")
	}
	return err
}

// JoinKeywords is the column keywords.
func JoinKeywords(m *index.Mailbox) string { return strings.Join(m.Keywords, " ") }

// NotNil keeps an empty column from being NULL.
func NotNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// IndexVersion is the first octet of a part index, 0 where there is none.
func IndexVersion(partIndex []byte) int64 {
	if len(partIndex) == 0 {
		return 0
	}
	return int64(partIndex[0])
}

// spanGap is up to how many UIDs between two ranges are read over: to read the few chunks that lie there costs no more than to
// look for another place.
const spanGap = 4 * mailbox.ChunkSize

// Spans are the ranges to read chunks for, which hold all of uids. Two may need the same chunk: it is read twice, and passed
// over the second time.
func Spans(uids mailbox.UIDSet) mailbox.UIDSet {
	spans := make(mailbox.UIDSet, 0, min(len(uids), 8))
	for _, r := range uids {
		if n := len(spans); n > 0 && r.First-spans[n-1].Last <= spanGap {
			spans[n-1].Last = r.Last
			continue
		}
		spans = append(spans, r)
	}
	return spans
}
