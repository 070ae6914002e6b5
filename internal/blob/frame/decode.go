package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
)

// ParseHeader reads a header from the first HeaderLen octets of b.
//
// ErrAbsent where no header begins; blob.ErrCorrupt where its checksum or what it says does not hold. The lengths of a
// header that it returns are within the limits and agree with each other.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen || string(b[:4]) != headerMagic {
		return Header{}, ErrAbsent
	}
	if crc32.Checksum(b[:124], castagnoli) != binary.BigEndian.Uint32(b[124:]) {
		return Header{}, fmt.Errorf("%w: header checksum", blob.ErrCorrupt)
	}
	if b[4] != Version {
		return Header{}, fmt.Errorf("%w: format version %d is not known", blob.ErrCorrupt, b[4])
	}
	h := Header{
		Kind:        blob.Kind(b[5]),
		Codec:       b[6],
		Place:       Place(b[7]),
		KeyID:       binary.BigEndian.Uint32(b[8:]),
		Segment:     binary.BigEndian.Uint32(b[12:]),
		Tenant:      binary.BigEndian.Uint64(b[16:]),
		QueueID:     envelope.QueueID(b[24:40]),
		Size:        int64(binary.BigEndian.Uint64(b[40:])),
		Stored:      int64(binary.BigEndian.Uint64(b[48:])),
		Tail:        binary.BigEndian.Uint32(b[56:]),
		Blocks:      binary.BigEndian.Uint32(b[60:]),
		Incarnation: binary.BigEndian.Uint64(b[64:]),
		Offset:      binary.BigEndian.Uint32(b[72:]),
		Durable:     binary.BigEndian.Uint32(b[76:]),
		Salt:        binary.BigEndian.Uint64(b[80:]),
	}
	switch h.Place {
	case Apart:
		h.Apart = Ref{Incarnation: binary.BigEndian.Uint64(b[88:]), Number: binary.BigEndian.Uint64(b[96:])}
	case Shared:
		owner, err := blob.IDFrom(b[88:108])
		if err != nil {
			return Header{}, err
		}
		h.Owner = owner
	}
	if err := h.check(); err != nil {
		return Header{}, fmt.Errorf("%w: %w", blob.ErrCorrupt, err)
	}
	if inc := binary.BigEndian.Uint64(b[108:]); inc != 0 {
		h.Origin = blob.ID{Incarnation: inc, Segment: binary.BigEndian.Uint32(b[116:]), Offset: binary.BigEndian.Uint32(b[120:]),
			Length: uint32(h.Len())}
	}
	return h, nil
}

// check refuses what no writer writes, so that readers can trust lengths.
func (h *Header) check() error {
	switch {
	case h.Codec != CodecNone:
		return fmt.Errorf("codec %d is not known", h.Codec)
	case h.KeyID != 0:
		return fmt.Errorf("body is encrypted with key %d", h.KeyID)
	case h.Place != Inline && h.Place != Apart && h.Place != Shared:
		return fmt.Errorf("body's place %d is not known", h.Place)
	case h.Size < 0 || h.Size > MaxBody:
		return fmt.Errorf("body of %d octets, at most %d", h.Size, MaxBody)
	case h.Place == Shared && (h.Stored != 0 || h.Blocks != 0):
		return fmt.Errorf("shared body with %d octets in %d blocks of its own", h.Stored, h.Blocks)
	case h.Place != Shared && h.Stored != h.Size:
		return fmt.Errorf("body of %d octets stored as %d without a codec", h.Size, h.Stored)
	case h.Place != Shared && h.Blocks != BlocksOf(h.Stored):
		return fmt.Errorf("body of %d octets in %d blocks", h.Stored, h.Blocks)
	case h.Tail > MaxTail:
		return fmt.Errorf("tail of %d octets, at most %d", h.Tail, MaxTail)
	case int64(h.Offset)+h.Len() > math.MaxUint32:
		return fmt.Errorf("frame of %d octets at %d", h.Len(), h.Offset)
	}
	return nil
}

// ParseTrailer reads and verifies the whole trailer, h.TrailerLen() octets, of a frame with the header h, whose octets
// are header. Errors are blob.ErrCorrupt.
func ParseTrailer(h *Header, header, trailer []byte) (Trailer, error) {
	if int64(len(trailer)) != h.TrailerLen() || len(header) < HeaderLen {
		return Trailer{}, fmt.Errorf("%w: trailer of %d octets, want %d", blob.ErrCorrupt, len(trailer), h.TrailerLen())
	}
	fixed := trailer[len(trailer)-TrailerLen:]
	if string(fixed[60:64]) != trailerMagic {
		return Trailer{}, fmt.Errorf("%w: no trailer", blob.ErrCorrupt)
	}
	sum := crc32.Checksum(trailer[:len(trailer)-8], castagnoli)
	if crc32.Update(sum, castagnoli, header[:HeaderLen]) != binary.BigEndian.Uint32(fixed[56:]) {
		return Trailer{}, fmt.Errorf("%w: trailer checksum", blob.ErrCorrupt)
	}
	sums := int(h.Blocks) * SumLen
	t := Trailer{
		Size:   int64(binary.BigEndian.Uint64(fixed)),
		Digest: [32]byte(fixed[8:40]),
		Sums:   trailer[:sums:sums],
		Tail:   trailer[sums : sums+int(h.Tail) : sums+int(h.Tail)],
	}
	if t.Size != h.Size || binary.BigEndian.Uint32(fixed[40:]) != h.Tail ||
		binary.BigEndian.Uint32(fixed[44:]) != h.Blocks || int64(binary.BigEndian.Uint32(fixed[48:])) != h.Len() {
		return Trailer{}, fmt.Errorf("%w: trailer and header differ", blob.ErrCorrupt)
	}
	return t, nil
}

// CheckBlock verifies block number i of a body against the trailer's checksums.
func CheckBlock(sums []byte, i int64, block []byte) error {
	at := i * SumLen
	if at < 0 || at+SumLen > int64(len(sums)) {
		return fmt.Errorf("%w: block %d has no checksum", blob.ErrCorrupt, i)
	}
	if crc32.Checksum(block, castagnoli) != binary.BigEndian.Uint32(sums[at:]) {
		return fmt.Errorf("%w: checksum of block %d", blob.ErrCorrupt, i)
	}
	return nil
}

// CheckBody verifies a whole body.
func CheckBody(sums, body []byte) error {
	for i := int64(0); len(body) > 0; i++ {
		block := body[:min(BlockLen, len(body))]
		if err := CheckBlock(sums, i, block); err != nil {
			return err
		}
		body = body[len(block):]
	}
	return nil
}
