// Package frame is the format of a stored message: header, body, trailer.
//
//	header   128 octets: kind, codec, where the body lies, lengths, queue id, the frame's own place, CRC32C
//	body     the message where it lies inline; else nothing
//	trailer  CRC32C of each 64 KiB block of the body; the caller's tail; 64 octets: size, BLAKE3-256, lengths, CRC32C, magic
//
// The trailer's checksum covers trailer and header, so that a frame without a valid trailer does not exist. Blocks have
// checksums of their own, so that a range is verified by reading the blocks it touches. Numbers are big-endian.
//
// A header tells the place it was written to and the salt of its writer, which no sender of mail knows: octets in a body
// that look like a frame are never taken for one. It also tells how far its segment was durable when it was written,
// which is proof that what lies before was flushed once: behind a power cut, torn frames are told from damaged ones.
//
// The package does no I/O.
package frame

import (
	"errors"
	"hash/crc32"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
)

// Lengths of the format, octets.
const (
	// HeaderLen is the header's.
	HeaderLen = 128
	// TrailerLen is that of the trailer's fixed part, which ends the frame.
	TrailerLen = 64
	// BlockLen is how much of the body one checksum covers; the last block may be shorter.
	BlockLen = 64 << 10
	// SumLen is one block's checksum.
	SumLen = 4
)

// Limits of the format, octets.
const (
	// MaxTail is how long the caller's tail may be.
	MaxTail = 16 << 20
	// MaxBody is how long a body may be.
	MaxBody = 1 << 30
)

// Version is the format's; a reader refuses frames of any other.
const Version = 1

// CodecNone is a body stored as it is, the only codec so far.
const CodecNone = 0

// ErrAbsent is returned where no frame begins.
var ErrAbsent = errors.New("no frame here")

const (
	headerMagic  = "MFfh"
	trailerMagic = "MFft"
)

// castagnoli is never written to.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Place tells where the body of a frame lies.
type Place uint8

// Places.
const (
	// Inline is between header and trailer.
	Inline Place = 1
	// Apart is a file or object of its own: Header.Apart.
	Apart Place = 2
	// Shared is the body of another frame, itself not shared: Header.Owner.
	Shared Place = 3
)

// Ref names a body that lies apart.
type Ref struct {
	Incarnation uint64
	Number      uint64
}

// Header is what a frame begins with.
type Header struct {
	Kind  blob.Kind
	Codec uint8
	Place Place
	// KeyID names the key that the body is encrypted with; 0 for none.
	KeyID uint32
	// Tenant is reserved for farms that serve several; 0.
	Tenant  uint64
	QueueID envelope.QueueID
	// Size is the body's as its readers see it.
	Size int64
	// Stored is how many octets the body takes, inline or apart; 0 where it is shared.
	Stored int64
	// Tail is the length of the caller's tail.
	Tail uint32
	// Blocks is how many checksums the trailer holds.
	Blocks uint32

	// Incarnation, Segment and Offset are the frame's own place.
	Incarnation uint64
	Segment     uint32
	Offset      uint32
	// Durable is the offset in the segment before which all was durable when the frame was written.
	Durable uint32
	// Salt is the incarnation's.
	Salt uint64

	// Apart is set for a body that lies apart.
	Apart Ref
	// Owner is set for a shared body: the first ID of the frame that has it.
	Owner blob.ID
	// Origin is the frame's first ID where it was moved; its length is this frame's. Zero for a frame that never was.
	Origin blob.ID
}

// FirstID is what refers to the frame for ever: its place, or where it was before it was moved.
func (h *Header) FirstID() blob.ID {
	if h.Origin.IsZero() {
		return h.ID()
	}
	return h.Origin
}

// BlocksOf is how many blocks a body of n octets has.
func BlocksOf(n int64) uint32 { return uint32((n + BlockLen - 1) / BlockLen) }

// BodyLen is how many octets lie between header and trailer.
func (h *Header) BodyLen() int64 {
	if h.Place == Inline {
		return h.Stored
	}
	return 0
}

// TrailerLen is the length of the whole trailer: checksums, tail, fixed part.
func (h *Header) TrailerLen() int64 {
	return int64(h.Blocks)*SumLen + int64(h.Tail) + TrailerLen
}

// Len is the length of the whole frame.
func (h *Header) Len() int64 { return HeaderLen + h.BodyLen() + h.TrailerLen() }

// ID is the frame's place, as its header tells it.
func (h *Header) ID() blob.ID {
	return blob.ID{Incarnation: h.Incarnation, Segment: h.Segment, Offset: h.Offset, Length: uint32(h.Len())}
}

// Trailer is what a frame ends with. Its slices lie in the octets that it was read from.
type Trailer struct {
	Size   int64
	Digest [32]byte
	// Sums are the checksums of the body's blocks, SumLen octets each.
	Sums []byte
	// Tail is the caller's.
	Tail []byte
}
