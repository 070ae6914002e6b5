package frame

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// AppendSums appends the checksum of each block of body, which begins at a block's start.
func AppendSums(dst, body []byte) []byte {
	for len(body) > 0 {
		block := body[:min(BlockLen, len(body))]
		dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(block, castagnoli))
		body = body[len(block):]
	}
	return dst
}

// Room is how much Finish appends for a body of n stored octets and a tail.
func Room(n int64, tail int) int { return int(BlocksOf(n))*SumLen + tail + TrailerLen }

// Finish appends the trailer to b, which holds HeaderLen octets of room and behind them the body, if it is inline. It
// sets the header's Blocks and Tail. sums are the body's checksums.
//
// The frame is not valid before Seal has put its header.
func Finish(b []byte, h *Header, sums, tail []byte, digest *[32]byte) []byte {
	h.Blocks, h.Tail = uint32(len(sums)/SumLen), uint32(len(tail))
	start := len(b)
	b = append(b, sums...)
	b = append(b, tail...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Size))
	b = append(b, digest[:]...)
	b = binary.BigEndian.AppendUint32(b, h.Tail)
	b = binary.BigEndian.AppendUint32(b, h.Blocks)
	b = binary.BigEndian.AppendUint32(b, uint32(min(h.Len(), math.MaxUint32)))
	b = append(b, 0, 0, 0, 0)
	// Seal goes on from this sum, so that the goroutine that places frames need not read their tails.
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return append(b, trailerMagic...)
}

// Seal puts the header into b, what Finish returned, now that the frame's place is known, and makes the frame valid.
// It is called once.
func Seal(b []byte, h *Header) {
	putHeader(b[:HeaderLen], h)
	sum := b[len(b)-8 : len(b)-4]
	binary.BigEndian.PutUint32(sum, crc32.Update(binary.BigEndian.Uint32(sum), castagnoli, b[:HeaderLen]))
}

func putHeader(b []byte, h *Header) {
	clear(b)
	copy(b, headerMagic)
	b[4], b[5], b[6], b[7] = Version, byte(h.Kind), h.Codec, byte(h.Place)
	binary.BigEndian.PutUint32(b[8:], h.KeyID)
	binary.BigEndian.PutUint32(b[12:], h.Segment)
	binary.BigEndian.PutUint64(b[16:], h.Tenant)
	copy(b[24:40], h.QueueID[:])
	binary.BigEndian.PutUint64(b[40:], uint64(h.Size))
	binary.BigEndian.PutUint64(b[48:], uint64(h.Stored))
	binary.BigEndian.PutUint32(b[56:], h.Tail)
	binary.BigEndian.PutUint32(b[60:], h.Blocks)
	binary.BigEndian.PutUint64(b[64:], h.Incarnation)
	binary.BigEndian.PutUint32(b[72:], h.Offset)
	binary.BigEndian.PutUint32(b[76:], h.Durable)
	binary.BigEndian.PutUint64(b[80:], h.Salt)
	switch h.Place {
	case Apart:
		binary.BigEndian.PutUint64(b[88:], h.Apart.Incarnation)
		binary.BigEndian.PutUint64(b[96:], h.Apart.Number)
	case Shared:
		copy(b[88:108], h.Owner.Bytes())
	}
	// A moved frame has the length that it had: 16 octets tell its origin.
	binary.BigEndian.PutUint64(b[108:], h.Origin.Incarnation)
	binary.BigEndian.PutUint32(b[116:], h.Origin.Segment)
	binary.BigEndian.PutUint32(b[120:], h.Origin.Offset)
	binary.BigEndian.PutUint32(b[124:], crc32.Checksum(b[:124], castagnoli))
}
