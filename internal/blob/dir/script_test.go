package dir_test

import (
	"runtime"
	"sync/atomic"

	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
)

// script is a life with all that a writer does: small and large bodies, batches, shared bodies, new segments, a restart.
func (w *world) script() {
	if !w.open() && w.halted() || !w.open() {
		return
	}
	w.commit(0)
	w.commit(4000)
	w.commitAtOnce(100, 5000, 3000, 9000, 19_000, 25_000)
	w.commit(22_000)
	if last := w.last(); !last.IsZero() {
		w.share(last)
	}
	w.commit(15_000)
	w.commitAtOnce(18_000, 19_000, 70_000)
	w.commit(10)
	w.close()
	if !w.open() && w.halted() || !w.open() {
		return
	}
	w.commit(1000)
	if last := w.last(); !last.IsZero() {
		w.share(last)
	}
	w.commitAtOnce(21_000, 20)
	w.commit(2000)
}

// yielding lets others run while it flushes, so that their frames gather to a batch.
type yielding struct {
	vfs.FS
	flushes *atomic.Int32
}

type yieldingFile struct {
	vfs.File
	flushes *atomic.Int32
}

func (fs yielding) Create(path string) (vfs.File, error) {
	f, err := fs.FS.Create(path)
	if err != nil {
		return nil, err
	}
	return yieldingFile{f, fs.flushes}, nil
}

func (f yieldingFile) SyncData() error {
	f.flushes.Add(1)
	for range 200 {
		runtime.Gosched()
	}
	return f.File.SyncData()
}
