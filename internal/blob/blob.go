// Package blob keeps message bodies: written once, durable before anybody is answered, read by range.
//
// A frame is one message: a header, the body, and a tail with what is known only at its end. Frames lie one after another
// in segments; every process that writes has an incarnation and numbers its segments from 0 without gaps. A body above the
// threshold lies apart, and its frame refers to it. What heads and tails hold is the callers' business
// (mailfarm.mail.v1.FrameTail); this package sees kind and queue id.
package blob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
)

// SpoolMemory is how much of a body is held in memory while it arrives; what is larger goes to a file or object of its own.
const SpoolMemory = 256 << 10

// Errors that callers branch on. Any other error of Commit leaves the outcome unknown: answer 4xx.
var (
	// ErrNotFound is a frame that is not there or has no valid tail.
	ErrNotFound = errors.New("no such frame")
	// ErrCorrupt is a frame whose octets do not match their checksum.
	ErrCorrupt = errors.New("corrupt frame")
	// ErrFull is a store without room: 452 4.3.1.
	ErrFull = errors.New("blob store is full")
	// ErrClosed is a store that is closing.
	ErrClosed = errors.New("blob store is closed")
	// ErrTooLarge is a body or tail beyond what a frame can hold: 552 5.3.4. Nothing is kept.
	ErrTooLarge = errors.New("too large for a frame")
	// ErrLocked is a directory that another process holds.
	ErrLocked = errors.New("blob directory is in use by another process")
)

// ID says where a frame lies, so that a read needs no look-up.
type ID struct {
	Incarnation uint64
	Segment     uint32
	Offset      uint32
	// Length is the frame's, header and tail included.
	Length uint32
}

// IDLen is the length of an ID in its binary form.
const IDLen = 20

// Bytes is the ID's binary form, big-endian, so that it sorts like positions.
func (id ID) Bytes() []byte {
	b := make([]byte, 0, IDLen)
	b = binary.BigEndian.AppendUint64(b, id.Incarnation)
	b = binary.BigEndian.AppendUint32(b, id.Segment)
	b = binary.BigEndian.AppendUint32(b, id.Offset)
	return binary.BigEndian.AppendUint32(b, id.Length)
}

// IDFrom reads the binary form.
func IDFrom(b []byte) (ID, error) {
	if len(b) != IDLen {
		return ID{}, fmt.Errorf("blob id of %d octets, want %d", len(b), IDLen)
	}
	return ID{
		Incarnation: binary.BigEndian.Uint64(b),
		Segment:     binary.BigEndian.Uint32(b[8:]),
		Offset:      binary.BigEndian.Uint32(b[12:]),
		Length:      binary.BigEndian.Uint32(b[16:]),
	}, nil
}

func (id ID) String() string {
	return fmt.Sprintf("%d/%d/%d+%d", id.Incarnation, id.Segment, id.Offset, id.Length)
}

// IsZero tells whether the ID was never set: incarnations count from 1.
func (id ID) IsZero() bool { return id == ID{} }

// Kind tells how a message came to exist; the numbers are mailfarm.mail.v1.Kind's.
type Kind uint8

// Kinds. Only accepted frames are ever published by recovery.
const (
	Accepted  Kind = 1
	Appended  Kind = 2
	Generated Kind = 3
)

// Meta is what a frame tells beside its body.
type Meta struct {
	Kind    Kind
	QueueID envelope.QueueID // zero for Appended
	// Tail is the encoded mailfarm.mail.v1.FrameTail.
	Tail []byte
}

// Store is a blob store. Its methods may be called at once from many goroutines.
type Store interface {
	// Create begins a frame. body, where it is not zero, is a frame whose body the new one shares (a child with its
	// parent's body); the draft then takes no octets. The caller ends every draft by Commit or Discard.
	Create(body ID) (Draft, error)
	// Open finds a frame and reads its header and tail, not its body. ErrNotFound, ErrCorrupt.
	Open(ctx context.Context, id ID) (*Frame, error)
	// Incarnations lists all writers ever, oldest first.
	Incarnations(ctx context.Context) ([]Incarnation, error)
	// Scan calls each with every durable frame of an incarnation from a position on, in order, and returns the position
	// behind the last one it called with. It stops at the durable end of a live incarnation, behind the last whole frame
	// of a dead one, and where each returns an error, which it returns.
	// A frame that is damaged with sound ones behind it is given with its Err set.
	//
	// Where each returned an error, the position is behind the frame that it returned it for: whoever has not accounted
	// for that frame goes on from its ID's place instead.
	Scan(ctx context.Context, from Position, each func(Scanned) error) (Position, error)
	// Close waits for drafts being committed.
	Close() error
}

// Draft is a frame being written; not for concurrent use.
type Draft interface {
	// Write appends to the body.
	io.Writer
	// Size is how many octets the body has so far.
	Size() int64
	// ReadAt reads what was written so far: io.EOF behind it.
	io.ReaderAt
	// Commit makes the frame durable, together with others that are being committed, and returns where it lies.
	// Commits of one process are answered in segment order. ErrFull: nothing is kept. After any other error the
	// outcome is unknown. The draft is over in either case.
	Commit(ctx context.Context, meta Meta) (ID, error)
	// Discard gives up; a no-op after Commit, so that it can be deferred.
	Discard()
}

// Frame is a stored message opened for reading. Close it.
type Frame struct {
	ID   ID
	Meta Meta
	// Size is the body's, octets.
	Size int64
	// Digest is BLAKE3-256 of the body.
	Digest [32]byte
	// Body reads ranges of the body.
	Body interface {
		io.ReaderAt
		io.Closer
	}
}

// Close gives back what Body holds.
func (f *Frame) Close() error { return f.Body.Close() }

// Reader reads the whole body in order.
func (f *Frame) Reader() *io.SectionReader { return io.NewSectionReader(f.Body, 0, f.Size) }

// Incarnation is one writer's life.
type Incarnation struct {
	ID uint64
	// Live tells that it may still write.
	Live bool
	// Started is when it began, by its own clock.
	Started time.Time
}

// Position is a place between frames.
type Position struct {
	Incarnation uint64
	Segment     uint32
	Offset      uint32
}

// Before tells whether p comes before q in the same incarnation.
func (p Position) Before(q Position) bool {
	return p.Segment < q.Segment || p.Segment == q.Segment && p.Offset < q.Offset
}

// Scanned is a frame met by Scan.
type Scanned struct {
	ID   ID
	Meta Meta
	Size int64
	// Origin is the frame's first ID where it was moved here by Reclaimer.Rewrite; zero for a frame that was first written
	// here. Whoever accounts for messages passes over frames that have one: the message was accounted for at its first place.
	Origin ID
	// Owner is the first ID of the frame whose body this one shares; zero for one that has its own.
	Owner ID
	// Apart is how many octets its body has where it lies apart; else 0.
	Apart int64
	// Written is when its segment was begun.
	Written time.Time
	// Err is ErrCorrupt for a damaged frame, of which only ID's place is known; kind and queue id where its header is sound.
	Err error
}
