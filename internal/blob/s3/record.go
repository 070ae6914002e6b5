package s3

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// Records are small objects: magic, version, three numbers, CRC32C.
const (
	recordLen     = 40
	recordVersion = 1

	claimMagic = "MFic" // salt, start, nonce
	beatMagic  = "MFib" // count of beats, durable segments; two records of traffic follow
	askedMagic = "MFit" // messages, requests, errors
	movedMagic = "MFio" // octets sent, received
	endMagic   = "MFie" // segments
	sealMagic  = "MFis" // incarnation, segment
	sweptMagic = "MFiw"
	probeMagic = "MFip"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func record(magic string, a, b, c uint64) []byte {
	rec := make([]byte, 0, recordLen)
	rec = append(rec, magic...)
	rec = append(rec, recordVersion, 0, 0, 0)
	rec = binary.BigEndian.AppendUint64(rec, a)
	rec = binary.BigEndian.AppendUint64(rec, b)
	rec = binary.BigEndian.AppendUint64(rec, c)
	rec = append(rec, 0, 0, 0, 0)
	return binary.BigEndian.AppendUint32(rec, crc32.Checksum(rec, castagnoli))
}

// parseRecord returns blob.ErrCorrupt for anything that record would not have made.
func parseRecord(rec []byte, magic string) (a, b, c uint64, err error) {
	if len(rec) != recordLen || string(rec[:4]) != magic || rec[4] != recordVersion ||
		crc32.Checksum(rec[:recordLen-4], castagnoli) != binary.BigEndian.Uint32(rec[recordLen-4:]) {
		return 0, 0, 0, fmt.Errorf("%w: record %s", blob.ErrCorrupt, magic)
	}
	return binary.BigEndian.Uint64(rec[8:]), binary.BigEndian.Uint64(rec[16:]), binary.BigEndian.Uint64(rec[24:]), nil
}

func isSeal(b []byte) bool {
	_, _, _, err := parseRecord(b, sealMagic)
	return err == nil
}
