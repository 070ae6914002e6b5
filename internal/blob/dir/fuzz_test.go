package dir_test

import (
	"bytes"
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs/memfs"
)

const (
	folderInMemory  = "/blob/00000001"
	segmentInMemory = folderInMemory + "/00000000.seg"
)

// content reads a file.
func content(f *testing.F, fs vfs.FS, path string) []byte {
	file, err := fs.Open(path)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		f.Fatal(err)
	}
	b := make([]byte, size)
	if _, err := file.ReadAt(b, 0); err != nil {
		f.Fatal(err)
	}
	return b
}

// FuzzSegment opens a directory whose one segment has hostile octets from some place on, and reads all that it finds.
// Which goroutine covers what differs from run to run: give -fuzzminimizetime 10x, or the fuzzer spends its time there.
func FuzzSegment(f *testing.F) {
	fs := memfs.New()
	s := open(f, "/blob", dir.Options{FS: fs, ZeroAhead: -1, Now: longAgo})
	var ids []blob.ID
	for i := range 3 {
		ids = append(ids, blobtest.Commit(f, s, blobtest.NewMessage(uint64(i), 50)))
	}
	segment, started := content(f, fs, segmentInMemory), content(f, fs, folderInMemory+"/started")
	s.Close()
	frame := segment[ids[1].Offset : ids[1].Offset+ids[1].Length]
	f.Add(uint16(ids[1].Offset), frame, true)
	f.Add(uint16(ids[1].Offset), frame[:20], true)
	f.Add(uint16(ids[2].Offset), frame, false)
	f.Add(uint16(0), segment, false)
	f.Fuzz(func(t *testing.T, at uint16, octets []byte, cut bool) {
		hostile := bytes.Clone(segment)
		if cut {
			hostile = hostile[:min(int(at), len(hostile))]
		}
		if end := int(at) + len(octets); end > len(hostile) {
			hostile = append(hostile, make([]byte, end-len(hostile))...)
		}
		copy(hostile[at:], octets)
		fs := memfs.New()
		fs.Mkdir("/blob")
		fs.Mkdir(folderInMemory)
		for path, b := range map[string][]byte{folderInMemory + "/started": started, segmentInMemory: hostile} {
			file, err := fs.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			file.WriteVec([][]byte{b}, 0)
			file.Close()
		}
		s := open(t, "/blob", dir.Options{FS: fs})
		defer s.Close()
		for _, found := range blobtest.ScanAll(t, s) {
			if frame, err := s.Open(t.Context(), found.ID); err == nil {
				frame.Body.ReadAt(make([]byte, 1000), 0)
				frame.Close()
			} else if found.Err == nil {
				t.Errorf("%v is found but not opened: %v", found.ID, err)
			}
		}
		blobtest.Check(t, s, blobtest.Commit(t, s, blobtest.NewMessage(9, 100)), blobtest.NewMessage(9, 100))
	})
}
