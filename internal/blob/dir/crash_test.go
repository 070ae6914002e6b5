package dir_test

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs/memfs"
)

// keeps are what a disk may have of what was not flushed: nothing, all, and parts.
func keeps(seed uint64, parts int) map[string]memfs.Keep {
	all := map[string]memfs.Keep{"nothing": memfs.Nothing, "everything": memfs.Everything}
	for i := range parts {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		odds := []float64{0.5, 0.1, 0.9}[i%3]
		all[fmt.Sprintf("part %d", i)] = func() bool { return r.Float64() < odds }
	}
	return all
}

// cutAt has the power go at an operation.
func cutAt(n int) func(memfs.Op) error {
	return func(op memfs.Op) error {
		if op.Number >= n {
			return memfs.ErrPowerCut
		}
		return nil
	}
}

// scriptOps is how many operations the script takes, about: batches differ from run to run.
func scriptOps(t *testing.T) int {
	const tries = 50 // whether frames gather is up to the scheduler, but not always against us
	for range tries {
		if ops, batches := scriptRun(t); batches {
			return ops
		}
	}
	t.Fatalf("no batches in %d runs of the script", tries)
	return 0
}

// scriptRun runs the script without faults; batches tells whether frames shared a flush.
func scriptRun(t *testing.T) (ops int, batches bool) {
	w := newWorld(t)
	w.script()
	batches = int(w.flushes.Load()) < len(w.answered)
	if len(w.errs) > 0 || len(w.answered) != 20 {
		t.Fatalf("script without faults: %v: %v", w, w.errs)
	}
	w.check("without faults")
	ops = w.fs.Ops()
	w.close()
	return ops, batches
}

// everyOp yields the numbers of the script's operations; in short tests some of them.
func everyOp(t *testing.T) iter.Seq[int] {
	stride := 1
	if testing.Short() {
		stride = 4
	}
	last := scriptOps(t) + 2
	return func(yield func(int) bool) {
		for n := 1 + rand.IntN(stride); n <= last && yield(n); n += stride {
		}
	}
}

// killed is a name beside those of keeps: the process dies, and the power is cut later.
const killed = "in memory"

// TestPowerCut cuts the power at every operation, or kills the process. What was answered is there afterwards, whatever the disk has of the
// rest; nothing is there by half; what is found once is found again; and the store takes messages.
func TestPowerCut(t *testing.T) {
	parts := 6
	if testing.Short() {
		parts = 2
	}
	for n := range everyOp(t) {
		all := keeps(uint64(n), parts)
		all[killed] = nil
		for name, keep := range all {
			what := fmt.Sprintf("cut at %d, kept %s", n, name)
			w := newWorld(t)
			w.fs.Inject(cutAt(n))
			w.script()
			if name == killed {
				w.kill()
			} else {
				w.restart(keep)
			}
			found := w.check(what)
			w.checkSwept(what)

			// The end was settled: later opens find the same, and what is added.
			w.commit(3000)
			w.restart(memfs.Nothing)
			if again := w.check(what + ", again"); len(again) != len(found)+1 || !slices.Equal(again[:len(found)], found) {
				t.Errorf("%s: found %v, then %v", what, found, again)
			}
			w.close()
			if t.Failed() {
				t.Fatalf("%s: %v", what, w)
			}
		}
	}
}

// TestPowerCutInRestart cuts the power, and again at every operation of what follows.
func TestPowerCutInRestart(t *testing.T) {
	ops := scriptOps(t)
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range rounds {
		n := 1 + r.IntN(ops)
		for second := 1; ; second++ {
			what := fmt.Sprintf("cut at %d, then at %d", n, second)
			w := newWorld(t)
			w.fs.Inject(cutAt(n))
			w.script()
			odd := func() bool { return r.IntN(2) == 0 }
			fresh := w.fs.Restart(odd)
			w.close()
			w.fs = fresh
			w.fs.Inject(cutAt(second))
			if w.open() {
				w.commit(4000)
				w.s.Sweep(t.Context())
			}
			done := w.fs.Ops() < second
			w.restart(odd)
			w.check(what)
			w.checkSwept(what)
			w.close()
			if t.Failed() {
				t.Fatalf("%s: %v", what, w)
			}
			if done {
				break
			}
		}
	}
}

// failing has operations fail from the n-th on, count of them.
func failing(n, count int, err error, kinds ...memfs.Kind) func(memfs.Op) error {
	return func(op memfs.Op) error {
		if op.Number < n || op.Number >= n+count || !slices.Contains(kinds, op.Kind) {
			return nil
		}
		return err
	}
}

// TestFaults has every operation fail, by itself and with those behind it, by lack of room or by a broken disk. What was
// answered is there; what was answered ErrFull is not; the store goes on without being opened again, and takes messages
// once the fault is over.
func TestFaults(t *testing.T) {
	allocating := []memfs.Kind{memfs.Mkdir, memfs.Create, memfs.Write}
	flushing := []memfs.Kind{memfs.Sync, memfs.SyncDir}
	everything := append(append([]memfs.Kind{memfs.Remove, memfs.Truncate}, allocating...), flushing...)
	tests := []struct {
		name  string
		err   error
		count int
		kinds []memfs.Kind
		full  bool // all errors are ErrFull
	}{
		{"no room once", syscall.ENOSPC, 1, allocating, true},
		{"no room for a while", syscall.ENOSPC, 12, allocating, true},
		{"over quota when flushed", syscall.EDQUOT, 1, flushing, false},
		{"no room when flushed", syscall.ENOSPC, 5, flushing, false},
		{"flush fails once", syscall.EIO, 1, flushing, false},
		{"broken once", syscall.EIO, 1, everything, false},
		{"broken for a while", syscall.EIO, 9, everything, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for n := range everyOp(t) {
				for name, keep := range keeps(uint64(n), 1) {
					what := fmt.Sprintf("%s at %d", test.name, n)
					w := newWorld(t)
					w.fs.Inject(failing(n, test.count, test.err, test.kinds...))
					w.script()
					w.fs.Inject(nil)
					if test.full && len(w.unknown) > 0 {
						t.Errorf("%s: not answered ErrFull: %v", what, w.errs)
					}
					if !w.open() {
						t.Fatalf("%s: open: %v", what, w.errs)
					}
					before := len(w.answered)
					w.commit(5000)
					w.commit(30_000)
					if len(w.answered) != before+2 {
						t.Errorf("%s: no commit behind the fault: %v", what, w.errs)
					}
					w.check(what + ", behind the fault")
					if test.full {
						w.checkBodies(what)
					}
					what += ", power cut, kept " + name
					w.restart(keep)
					w.check(what)
					w.checkSwept(what)
					w.close()
					if t.Failed() {
						t.Fatalf("%s: %v", what, w)
					}
				}
			}
		})
	}
}

// TestFaultThenEnd has an operation fail, with nothing done behind it but the process's or the machine's end: no later
// segment says where the failed one ends. What was answered ErrFull is not there even so.
func TestFaultThenEnd(t *testing.T) {
	tests := map[string]func(n int) func(memfs.Op) error{
		"no room": func(n int) func(memfs.Op) error {
			return failing(n, 1<<30, syscall.ENOSPC, memfs.Write, memfs.Create)
		},
		"no room, then broken": func(n int) func(memfs.Op) error {
			full := failing(n, 1, syscall.ENOSPC, memfs.Write, memfs.Sync)
			broken := failing(n+1, 1<<30, syscall.EIO, memfs.Truncate, memfs.Sync, memfs.SyncDir, memfs.Remove, memfs.Create)
			return func(op memfs.Op) error {
				if err := full(op); err != nil {
					return err
				}
				return broken(op)
			}
		},
		"broken": func(n int) func(memfs.Op) error {
			return failing(n, 1<<30, syscall.EIO, memfs.Truncate, memfs.Sync, memfs.SyncDir, memfs.Create)
		},
	}
	for name, fault := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := range everyOp(t) {
				all := keeps(uint64(n), 1)
				all[killed] = nil
				for kept, keep := range all {
					what := fmt.Sprintf("%s at %d, kept %s", name, n, kept)
					w := newWorld(t)
					w.halt = true
					w.fs.Inject(fault(n))
					w.script()
					w.halt = false
					if kept == killed {
						w.kill()
					} else {
						w.restart(keep)
					}
					w.check(what)
					w.checkSwept(what)
					w.close()
					if t.Failed() {
						t.Fatalf("%s: %v", what, w)
					}
				}
			}
		})
	}
}

// TestSweepThenPowerCut cuts the power behind a sweep: what came back is swept again.
func TestSweepThenPowerCut(t *testing.T) {
	for kept, keep := range keeps(3, 20) {
		w := newWorld(t)
		w.open()
		w.commit(30_000)
		for range 3 {
			d, err := w.s.Create(blob.ID{})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Discard()
			d.Write(make([]byte, 30_000))
		}
		w.kill()
		if n, err := w.s.Sweep(t.Context()); n != 3 || err != nil {
			t.Errorf("Sweep: %d, %v; want 3", n, err)
		}
		w.restart(keep)
		w.check("kept " + kept)
		w.checkSwept("kept " + kept)
		w.close()
	}
}
