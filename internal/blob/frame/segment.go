package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// SegmentHeaderLen is the length of what a segment begins with; the first frame lies behind it.
const SegmentHeaderLen = 64

const segmentMagic = "MFsg"

// SegmentHeader is what a segment begins with.
type SegmentHeader struct {
	Incarnation uint64
	Segment     uint32
	// Before is where the durable part of the segment before this one ends: what lies behind it there was never
	// answered. 0 in the first segment.
	Before uint32
	// Started is when the segment was begun.
	Started time.Time
	// Salt is the incarnation's.
	Salt uint64
}

// AppendSegmentHeader appends the header, SegmentHeaderLen octets.
func AppendSegmentHeader(b []byte, h *SegmentHeader) []byte {
	start := len(b)
	b = append(b, segmentMagic...)
	b = append(b, Version, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, h.Incarnation)
	b = binary.BigEndian.AppendUint32(b, h.Segment)
	b = binary.BigEndian.AppendUint32(b, h.Before)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Started.UnixNano()))
	b = binary.BigEndian.AppendUint64(b, h.Salt)
	b = append(b, make([]byte, SegmentHeaderLen-SumLen-(len(b)-start))...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// ParseSegmentHeader reads the header from the first octets of a segment. ErrAbsent, blob.ErrCorrupt.
func ParseSegmentHeader(b []byte) (SegmentHeader, error) {
	if len(b) < SegmentHeaderLen || string(b[:4]) != segmentMagic {
		return SegmentHeader{}, ErrAbsent
	}
	if crc32.Checksum(b[:60], castagnoli) != binary.BigEndian.Uint32(b[60:]) {
		return SegmentHeader{}, fmt.Errorf("%w: segment header checksum", blob.ErrCorrupt)
	}
	if b[4] != Version {
		return SegmentHeader{}, fmt.Errorf("%w: segment version %d is not known", blob.ErrCorrupt, b[4])
	}
	return SegmentHeader{
		Incarnation: binary.BigEndian.Uint64(b[8:]),
		Segment:     binary.BigEndian.Uint32(b[16:]),
		Before:      binary.BigEndian.Uint32(b[20:]),
		Started:     time.Unix(0, int64(binary.BigEndian.Uint64(b[24:]))),
		Salt:        binary.BigEndian.Uint64(b[32:]),
	}, nil
}
