package dir_test

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
)

// benchStore lies in TMPDIR: on a disk, if the figures are to say anything about flushes.
func benchStore(b *testing.B) *dir.Store {
	s := open(b, filepath.Join(b.TempDir(), "blob"), dir.Options{})
	b.Cleanup(func() { s.Close() })
	return s
}

func BenchmarkCommit4K(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := benchStore(b)
			m := blobtest.NewMessage(1, 4096)
			m.Meta.Tail = blobtest.Octets(2, 1500)
			b.SetBytes(int64(len(m.Body)))
			b.ReportAllocs()
			work := make(chan struct{}, writers)
			b.ResetTimer()
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for range work {
						d, err := s.Create(blob.ID{})
						if err != nil {
							b.Error(err)
							return
						}
						d.Write(m.Body)
						if _, err := d.Commit(context.Background(), m.Meta); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

func BenchmarkOpenRead(b *testing.B) {
	s := benchStore(b)
	for _, size := range []int{4 << 10, 200 << 10, 4 << 20} {
		var ids []blob.ID
		for i := range 50 {
			m := blobtest.NewMessage(uint64(i), size)
			m.Meta.Tail = blobtest.Octets(2, 1500)
			ids = append(ids, blobtest.Commit(b, s, m))
		}
		p := make([]byte, size)
		b.Run(fmt.Sprintf("%dK", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := range b.N {
				f, err := s.Open(context.Background(), ids[i%len(ids)])
				if err != nil {
					b.Fatal(err)
				}
				if _, err := f.Body.ReadAt(p, 0); err != nil && err != io.EOF {
					b.Fatal(err)
				}
				f.Close()
			}
		})
	}
}

func BenchmarkScan4K(b *testing.B) {
	s := benchStore(b)
	const frames = 2000
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range frames / 50 {
				blobtest.Commit(b, s, blobtest.NewMessage(1, 4096))
			}
		})
	}
	wg.Wait()
	all, err := s.Incarnations(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	from := blob.Position{Incarnation: all[0].ID}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		if _, err := s.Scan(context.Background(), from, func(blob.Scanned) error { n++; return nil }); err != nil || n != frames {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(frames)*float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}
