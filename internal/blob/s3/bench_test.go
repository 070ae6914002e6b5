package s3_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// benchStore is a store on a versitygw, with the settings of a farm.
func benchStore(b *testing.B) *s3.Store {
	return closing(b, real(b, servers.S3(b)).open(b, func(c *s3.Config) { c.SegmentTime, c.RetryFor = 0, 0 }))
}

// commitAll commits b.N messages of 4 KiB.
func commitAll(b *testing.B, s blob.Store, writers int) {
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
					continue
				}
				d.Write(m.Body)
				if _, err := d.Commit(context.Background(), m.Meta); err != nil {
					b.Error(err)
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
}

// BenchmarkCommit4K compares with a directory on the same disk.
func BenchmarkCommit4K(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("s3/writers=%d", writers), func(b *testing.B) {
			s := benchStore(b)
			before, _ := s.Stat(b.Context())
			commitAll(b, s, writers)
			after, _ := s.Stat(b.Context())
			b.ReportMetric(float64(after.Requests["PUT"]-before.Requests["PUT"])*1000/float64(b.N), "PUT/1000")
		})
		b.Run(fmt.Sprintf("dir/writers=%d", writers), func(b *testing.B) {
			s, err := dir.Open(b.Context(), filepath.Join(b.TempDir(), "blob"), dir.Options{Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { s.Close() })
			commitAll(b, s, writers)
		})
	}
}

// BenchmarkPaced has messages arrive evenly, from many connections that take a while each: requests for 1,000 of them.
func BenchmarkPaced(b *testing.B) {
	for _, rate := range []int{20, 500} {
		b.Run(fmt.Sprintf("%d a second", rate), func(b *testing.B) {
			s := benchStore(b)
			before, _ := s.Stat(b.Context())
			m := blobtest.NewMessage(1, 4096)
			tick := time.NewTicker(time.Second / time.Duration(rate))
			defer tick.Stop()
			var wg sync.WaitGroup
			for range b.N {
				<-tick.C
				wg.Go(func() {
					d, err := s.Create(blob.ID{})
					if err != nil {
						b.Error(err)
						return
					}
					d.Write(m.Body)
					time.Sleep(50 * time.Millisecond) // the filter judges
					if _, err := d.Commit(context.Background(), m.Meta); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			after, _ := s.Stat(b.Context())
			b.ReportMetric(float64(after.Requests["PUT"]-before.Requests["PUT"])*1000/float64(b.N), "PUT/1000")
		})
	}
}

func BenchmarkOpenRead(b *testing.B) {
	for _, size := range []int{4 << 10, 200 << 10, 4 << 20} {
		for _, cache := range []int64{-1, 64 << 20} {
			b.Run(fmt.Sprintf("%dK/cache=%v", size>>10, cache > 0), func(b *testing.B) {
				bucket := real(b, servers.S3(b))
				s := closing(b, bucket.open(b, func(c *s3.Config) { c.CacheBytes = cache }))
				id := blobtest.Commit(b, s, blobtest.NewMessage(1, size))
				p := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					f, err := s.Open(context.Background(), id)
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
}
