package frame_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// resum gives hostile octets the magics and checksums of a sound frame, so that a fuzzer comes behind them.
func resum(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < frame.HeaderLen+frame.TrailerLen {
		return b
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	copy(b, "MFfh\x01")
	binary.BigEndian.PutUint32(b[124:], crc32.Checksum(b[:124], table))
	h, err := frame.ParseHeader(b)
	if err != nil || h.Len() > int64(len(b)) {
		return b
	}
	trailer := b[h.Len()-h.TrailerLen() : h.Len()]
	copy(trailer[len(trailer)-4:], "MFft")
	sum := crc32.Checksum(trailer[:len(trailer)-8], table)
	binary.BigEndian.PutUint32(trailer[len(trailer)-8:], crc32.Update(sum, table, b[:frame.HeaderLen]))
	return b
}
