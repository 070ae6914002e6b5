// Package envelope holds the nouns of SMTP: the envelope of a message (RFC 5321 §2.3.1), its paths and its queue id.
//
// It does no I/O and knows no library's types.
package envelope

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

// QueueID is the farm's own id of an accepted message: 48 bits of Unix milliseconds, then 80 random bits.
// Ids made later sort later, so that tables keyed by them grow at their end.
type QueueID [16]byte

// idText is base32 in Crockford's order, which keeps the sort order and leaves out letters that look alike.
var idText = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// ErrQueueID is the error for text or octets that are no queue id.
var ErrQueueID = errors.New("not a queue id (26 letters and digits, as in 06EXAMP1E0WJ7Z3V5K9Q2R8T4M)")

// NewQueueID makes an id for a message that arrives at now.
func NewQueueID(now time.Time) QueueID {
	var id QueueID
	rand.Read(id[:])
	id.stamp(now.UnixMilli())
	return id
}

func (id *QueueID) stamp(ms int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(ms)<<16)
	copy(id[:6], b[:6])
}

// ChildID is the id of the ordinal-th message that recipient number of parent gives rise to.
//
// It depends on nothing else, so that doing the work again makes the same child. It carries the parent's time.
func ChildID(parent QueueID, number uint32, ordinal uint32) QueueID {
	var b [24]byte
	copy(b[:], parent[:])
	binary.BigEndian.PutUint32(b[16:], number)
	binary.BigEndian.PutUint32(b[20:], ordinal)
	sum := sha256.Sum256(b[:])
	var id QueueID
	copy(id[:6], parent[:6])
	copy(id[6:], sum[:])
	return id
}

// String is the id as people see it: 26 letters and digits.
func (id QueueID) String() string { return idText.EncodeToString(id[:]) }

// Time is when the id was made, to the millisecond; for a child when its parent's was.
func (id QueueID) Time() time.Time {
	var b [8]byte
	copy(b[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:])))
}

// IsZero tells whether the id was never set.
func (id QueueID) IsZero() bool { return id == QueueID{} }

// ParseQueueID reads String's form, in either case.
func ParseQueueID(s string) (QueueID, error) {
	b, err := idText.DecodeString(strings.ToUpper(strings.TrimSpace(s)))
	if err != nil || len(b) != 16 {
		return QueueID{}, ErrQueueID
	}
	return QueueID(b), nil
}

// QueueIDFrom reads the 16 octets that contracts carry.
func QueueIDFrom(b []byte) (QueueID, error) {
	if len(b) != 16 {
		return QueueID{}, ErrQueueID
	}
	return QueueID(b), nil
}
