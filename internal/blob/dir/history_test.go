package dir_test

import (
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs/memfs"
)

// TestHistories does at random what callers, disks and power supplies do, and compares with what was answered.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		if !w.open() {
			rt.Fatalf("open: %v", w.errs)
		}
		defer w.close()
		size := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, testThreshold+1), rapid.IntRange(testThreshold, 3*testThreshold))
		faults := func(name string, err error, kinds ...memfs.Kind) func(*rapid.T) {
			return func(rt *rapid.T) {
				from := w.fs.Ops() + rapid.IntRange(1, 12).Draw(rt, name+" in")
				w.fs.Inject(failing(from, rapid.IntRange(1, 6).Draw(rt, name+" for"), err, kinds...))
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) { w.commit(size.Draw(rt, "size")) },
			"commit at once": func(rt *rapid.T) {
				w.commitAtOnce(rapid.SliceOfN(size, 2, 6).Draw(rt, "sizes")...)
			},
			"share": func(rt *rapid.T) {
				if len(w.answered) > 0 {
					w.share(w.last())
				}
			},
			"discard": func(rt *rapid.T) {
				d, err := w.s.Create(blob.ID{})
				if err != nil {
					rt.Fatal(err)
				}
				d.Write(make([]byte, size.Draw(rt, "size")))
				d.Discard()
			},
			"no room": faults("no room", syscall.ENOSPC, memfs.Mkdir, memfs.Create, memfs.Write),
			"broken disk": faults("broken disk", syscall.EIO,
				memfs.Create, memfs.Write, memfs.Sync, memfs.SyncDir, memfs.Truncate, memfs.Remove),
			"reopen": func(rt *rapid.T) {
				w.close()
				w.fs.Inject(nil)
				if !w.open() {
					rt.Fatalf("open: %v", w.errs)
				}
			},
			"kill": func(rt *rapid.T) { w.kill() },
			"power cut": func(rt *rapid.T) {
				w.restart(func() bool { return rapid.Bool().Draw(rt, "kept") })
			},
			"power cut soon": func(rt *rapid.T) {
				w.fs.Inject(cutAt(w.fs.Ops() + rapid.IntRange(1, 12).Draw(rt, "cut in")))
				w.commitAtOnce(size.Draw(rt, "size"), size.Draw(rt, "size"))
				w.commit(size.Draw(rt, "size"))
				w.restart(func() bool { return rapid.Bool().Draw(rt, "kept") })
			},
			"sweep": func(rt *rapid.T) { w.s.Sweep(rt.Context()) },
			"": func(rt *rapid.T) {
				w.check("history")
			},
		})
		w.fs.Inject(nil)
		w.restart(memfs.Nothing)
		w.check("end")
		w.checkSwept("end")
	})
}
