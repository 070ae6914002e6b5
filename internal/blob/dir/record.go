package dir

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// Records are small files written once: magic, version, two or three numbers, CRC32C. One that is not whole does not count.
const (
	recordLen     = 32
	recordVersion = 1

	startedName  = "started"
	startedMagic = "MFin"
	endName      = "end"
	endMagic     = "MFen"
	sweptName    = "swept"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeRecord makes the file and flushes it and its folder. What is there already is replaced.
func (s *Store) writeRecord(folder, name, magic string, a, b uint64) error {
	rec := make([]byte, 0, recordLen)
	rec = append(rec, magic...)
	rec = append(rec, recordVersion, 0, 0, 0)
	rec = binary.BigEndian.AppendUint64(rec, a)
	rec = binary.BigEndian.AppendUint64(rec, b)
	rec = append(rec, 0, 0, 0, 0)
	rec = binary.BigEndian.AppendUint32(rec, crc32.Checksum(rec, castagnoli))

	path := filepath.Join(folder, name)
	f, err := s.createFresh(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.WriteVec([][]byte{rec}, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return s.fs.SyncDir(folder)
}

// readRecord returns fs.ErrNotExist, blob.ErrCorrupt.
func (s *Store) readRecord(folder, name, magic string) (a, b uint64, err error) {
	f, err := s.fs.Open(filepath.Join(folder, name))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	rec := make([]byte, recordLen)
	n, err := f.ReadAt(rec, 0)
	switch {
	case n < recordLen && err != nil && !isEOF(err):
		return 0, 0, err
	case n < recordLen || string(rec[:4]) != magic || rec[4] != recordVersion ||
		crc32.Checksum(rec[:28], castagnoli) != binary.BigEndian.Uint32(rec[28:]):
		return 0, 0, fmt.Errorf("%w: record %s", blob.ErrCorrupt, name)
	}
	return binary.BigEndian.Uint64(rec[8:]), binary.BigEndian.Uint64(rec[16:]), nil
}

func (s *Store) writeStarted(inc *incarnation) error {
	return s.writeRecord(s.incarnationPath(inc.id), startedName, startedMagic, uint64(inc.started.UnixNano()), inc.salt)
}

func (s *Store) readStarted(id uint64) (started time.Time, salt uint64, err error) {
	ns, salt, err := s.readRecord(s.incarnationPath(id), startedName, startedMagic)
	return time.Unix(0, int64(ns)), salt, err
}

func (s *Store) writeEnd(id uint64, e end) error {
	return s.writeRecord(s.incarnationPath(id), endName, endMagic, uint64(e.segment), uint64(e.offset))
}

func (s *Store) readEnd(id uint64) (end, error) {
	segment, offset, err := s.readRecord(s.incarnationPath(id), endName, endMagic)
	return end{segment: uint32(segment), offset: uint32(offset)}, err
}
