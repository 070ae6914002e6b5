// Package mailbox holds the nouns of the mail store: accounts, mailboxes, entries and their flags.
//
// It does no I/O and knows no library's types.
package mailbox

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"
)

// AccountID names an account for ever; the directory gives it.
type AccountID uint64

// ID names a mailbox (a folder) of an account; unlike its name it never changes. It is MAILBOXID of RFC 8474.
type ID uint64

// EmailID names a message within an account; copies share it. It is EMAILID of RFC 8474.
type EmailID uint64

// ThreadID is THREADID of RFC 8474.
type ThreadID uint64

// UID is the unique identifier of an entry in a mailbox (RFC 9051 §2.3.1.1); 0 is none.
type UID uint32

// UIDValidity tells whether UIDs seen before still hold (RFC 9051 §2.3.1.1).
type UIDValidity uint32

// ModSeq orders changes within an account (RFC 7162 §3.1).
type ModSeq uint64

// NewID makes an id without coordination: 41 bits of milliseconds since 2020, then 22 random bits, below 2^63 so that
// every database can hold it. Ids made later sort later.
func NewID(now time.Time) uint64 {
	var b [4]byte
	rand.Read(b[:])
	ms := uint64(now.UnixMilli() - 1577836800000)
	return ms&(1<<41-1)<<22 | uint64(binary.BigEndian.Uint32(b[:])&(1<<22-1))
}

// ObjectID writes an id in the alphabet of RFC 8474 §4: A-Z a-z 0-9 - _, behind a letter that tells its kind.
func ObjectID(kind byte, id uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], id)
	return string(kind) + base64.RawURLEncoding.EncodeToString(b[:])
}

// Flags is the set of flags and keywords of one entry: system flags in the low bits, then up to MaxKeywords keywords,
// bit KeywordShift+i standing for the i-th of the mailbox's keyword list.
type Flags uint64

// System flags (RFC 9051 §2.3.2). \Recent is not among them: it belongs to a session.
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
)

// KeywordShift is the bit of a mailbox's first keyword; MaxKeywords is how many a mailbox can have.
const (
	KeywordShift = 8
	MaxKeywords  = 56
)

// ChunkSize is how many entries of a mailbox are stored in one row.
const ChunkSize = 256

// IDTime is when NewID made an id.
func IDTime(id uint64) time.Time { return time.UnixMilli(int64(id>>22) + 1577836800000) }

// ParseObjectID reads what ObjectID wrote for a kind.
func ParseObjectID(kind byte, text string) (uint64, error) {
	if len(text) != 12 || text[0] != kind {
		return 0, fmt.Errorf("%q is no id that begins with %c", text, kind)
	}
	b, err := base64.RawURLEncoding.DecodeString(text[1:])
	if err != nil {
		return 0, fmt.Errorf("%q is no id: %w", text, err)
	}
	return binary.BigEndian.Uint64(b), nil
}
