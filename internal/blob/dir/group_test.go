package dir_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs"
	"github.com/mailfarm/mailfarm/internal/blob/dir/vfs/memfs"
)

// gate is a file system whose flushes of data wait while it is shut.
type gate struct {
	vfs.FS
	shut    atomic.Bool
	open    chan struct{}
	flushes atomic.Int32
}

type gateFile struct {
	vfs.File
	gate *gate
}

func newGate() *gate { return &gate{FS: memfs.New(), open: make(chan struct{})} }

func (g *gate) Create(path string) (vfs.File, error) {
	f, err := g.FS.Create(path)
	return &gateFile{File: f, gate: g}, err
}

func (f *gateFile) SyncData() error {
	f.gate.flushes.Add(1)
	if f.gate.shut.Load() {
		<-f.gate.open
	}
	return f.File.SyncData()
}

// TestGroupCommit has commits come while a flush is under way: they share the next one.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const waiting = 40
		reg := prometheus.NewRegistry()
		g := newGate()
		s := open(t, "/blob", dir.Options{FS: g, Registerer: reg})
		g.shut.Store(true)
		var wg sync.WaitGroup
		for i := range waiting + 1 {
			wg.Go(func() { blobtest.Commit(t, s, blobtest.NewMessage(uint64(i), 4096)) })
			synctest.Wait()
		}
		g.shut.Store(false)
		close(g.open)
		wg.Wait()
		if got := g.flushes.Load(); got != 2 {
			t.Errorf("%d flushes for one frame and %d that waited, want 2", got, waiting)
		}
		want := map[string]float64{
			"mailfarm_blob_commits_total":             waiting + 1,
			"mailfarm_blob_flushes_total":             2,
			"mailfarm_blob_frames_per_flush":          waiting + 1,
			"mailfarm_blob_abandoned_segments_total":  0,
			"mailfarm_blob_written_bytes_total at 4K": 1,
		}
		got := gather(t, reg)
		if bytes := got["mailfarm_blob_written_bytes_total"]; bytes > (waiting+1)*4096 {
			got["mailfarm_blob_written_bytes_total at 4K"] = 1
		}
		delete(got, "mailfarm_blob_written_bytes_total")
		if !maps.Equal(got, want) {
			t.Errorf("metrics %v, want %v", got, want)
		}
		s.Close()
		if got := gather(t, reg); len(got) != 0 {
			t.Errorf("metrics behind Close: %v", got)
		}
	})
}

// gather sums up each metric over its labels.
func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			sums[f.GetName()] += m.GetCounter().GetValue() + m.GetHistogram().GetSampleSum()
		}
	}
	return sums
}

// TestContextEndsInFlush has a commit given up while it is flushed: the outcome is unknown, and memory and body of the
// frame stay until it is written.
func TestContextEndsInFlush(t *testing.T) {
	for _, size := range []int{4096, 2 * blob.SpoolMemory} {
		synctest.Test(t, func(t *testing.T) {
			g := newGate()
			s := open(t, "/blob", dir.Options{FS: g})
			defer s.Close()
			g.shut.Store(true)
			first := make(chan error)
			go func() {
				d, _ := s.Create(blob.ID{})
				_, err := d.Commit(context.Background(), blob.Meta{Kind: blob.Accepted})
				first <- err
			}()
			synctest.Wait()

			m := blobtest.NewMessage(7, size)
			d, err := s.Create(blob.ID{})
			if err != nil {
				t.Fatal(err)
			}
			d.Write(m.Body)
			ctx, cancel := context.WithCancel(t.Context())
			given := make(chan error)
			go func() { _, err := d.Commit(ctx, m.Meta); given <- err }()
			synctest.Wait()
			cancel()
			if err := <-given; !errors.Is(err, context.Canceled) {
				t.Errorf("Commit: %v, want Canceled", err)
			}
			other, err := s.Create(blob.ID{})
			if err != nil {
				t.Fatal(err)
			}
			other.Write(make([]byte, 4096)) // may take the memory that was given up
			g.shut.Store(false)
			close(g.open)
			if err := <-first; err != nil {
				t.Errorf("Commit before it: %v", err)
			}
			other.Discard()
			synctest.Wait()
			found := blobtest.ScanAll(t, s)
			if len(found) != 2 {
				t.Fatalf("%d frames, want 2", len(found))
			}
			blobtest.Check(t, s, found[1].ID, m)
		})
	}
}
