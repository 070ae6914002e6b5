package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeebo/blake3"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// requests are those that a store has made so far.
func requests(t testing.TB, s *s3.Store) map[string]int64 {
	t.Helper()
	stats, err := s.Stat(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return stats.Requests
}

// counted tells how many requests of a verb something makes.
func counted(t testing.TB, s *s3.Store, verb string, do func()) int64 {
	t.Helper()
	before := requests(t, s)[verb]
	do()
	return requests(t, s)[verb] - before
}

// TestRequests counts what writing and reading cost.
func TestRequests(t *testing.T) {
	b := fake(t)
	s := closing(t, b.open(t))
	m := blobtest.NewMessage(1, 5000)
	var id blob.ID
	if n := counted(t, s, "PUT", func() { id = blobtest.Commit(t, s, m) }); n != 1 {
		t.Errorf("commit: %d PUTs, want 1", n)
	}
	if n := counted(t, s, "GET", func() { blobtest.Check(t, s, id, m) }); n != 0 {
		t.Errorf("read of what was just written: %d GETs, want 0", n)
	}
	long := blobtest.NewMessage(2, 200_000)
	longID := blobtest.Commit(t, s, long)
	apart := blobtest.NewMessage(3, 4<<20)
	apartID := blobtest.Commit(t, s, apart)

	other := closing(t, b.open(t))
	for _, test := range []struct {
		name string
		want int64
		do   func()
	}{
		{"first read of a small frame", 1, func() { blobtest.Check(t, other, id, m) }},
		{"second read", 0, func() { blobtest.Check(t, other, id, m) }},
		{"first read of a frame of 200,000 octets", 1, func() { blobtest.Check(t, other, longID, long) }},
		// The claim, the segment, the next one, which is missing, and the heartbeat, which tells that it was not removed.
		{"scan from the end: nothing known", 4, func() { scanFrom(t, other, behind(apartID)) }},
		{"scan from the end again", 2, func() { scanFrom(t, other, behind(apartID)) }},
	} {
		if n := counted(t, other, "GET", test.do); n != test.want {
			t.Errorf("%s: %d GETs, want %d", test.name, n, test.want)
		}
	}

	f, err := other.Open(t.Context(), apartID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := counted(t, other, "GET", func() { io.Copy(io.Discard, f.Reader()) }); n > 5 {
		t.Errorf("read of 4 MiB in order: %d GETs, want at most 5", n)
	}
	one := make([]byte, 10)
	if n := counted(t, other, "GET", func() { f.Body.ReadAt(one, 2<<20); f.Body.ReadAt(one, 2<<20+20) }); n != 1 {
		t.Errorf("two short reads of one block: %d GETs, want 1", n)
	}
	stats, err := other.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := stats.Received
	f.Body.ReadAt(one, 1<<20)
	if stats, _ = other.Stat(t.Context()); stats.Received-before > 70<<10 {
		t.Errorf("a short read somewhere else fetched %d octets", stats.Received-before)
	}
	if n := counted(t, other, "LIST", func() {
		blobtest.Commit(t, other, m)
		blobtest.Check(t, other, id, m)
		scanFrom(t, other, blob.Position{Incarnation: id.Incarnation})
	}); n != 0 {
		t.Errorf("commit, read and scan: %d LISTs, want 0", n)
	}
}

func behind(id blob.ID) blob.Position {
	return blob.Position{Incarnation: id.Incarnation, Segment: id.Segment, Offset: id.Offset + id.Length}
}

func scanFrom(t testing.TB, s *s3.Store, from blob.Position) {
	t.Helper()
	if _, err := s.Scan(context.Background(), from, func(blob.Scanned) error { return nil }); err != nil {
		t.Errorf("Scan: %v", err)
	}
}

// TestPacking has many commit at once, as connections do: they share segments.
func TestPacking(t *testing.T) {
	b := fake(t)
	s := closing(t, b.open(t, func(c *s3.Config) { c.SegmentTime = 20 * time.Millisecond }))
	const writers, each = 100, 10
	n := counted(t, s, "PUT", func() {
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for i := range each {
					blobtest.Commit(t, s, blobtest.NewMessage(uint64(i), 4096))
				}
			})
		}
		wg.Wait()
	})
	if n > writers*each/10 {
		t.Errorf("%d PUTs for %d messages of %d writers", n, writers*each, writers)
	}
	stats, err := s.Stat(t.Context())
	if err != nil || stats.Messages != writers*each || stats.PerThousand() == 0 || !strings.Contains(stats.String(), "1000 messages") {
		t.Errorf("Stat: %+v, %v: %v", stats, err, stats)
	}
}

// TestTraffic asks one process what all have asked of the server.
func TestTraffic(t *testing.T) {
	b := fake(t)
	first, second := b.open(t, hasty), closing(t, b.open(t, hasty))
	for i := range 5 {
		blobtest.Commit(t, first, blobtest.NewMessage(uint64(i), 1000))
		blobtest.Commit(t, second, blobtest.NewMessage(uint64(i), 2000))
	}
	eventually(t, "both tell of their messages", func() bool {
		sum, err := second.Traffic(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return sum.Processes == 2 && sum.Messages == 10 && sum.Requests > 10 && sum.Sent > 15_000 && sum.Received > 0 && sum.Errors == 0
	})
	first.Close()
	if sum, err := second.Traffic(t.Context()); err != nil || sum.Processes != 1 || sum.Messages != 5 {
		t.Errorf("with one process: %+v, %v", sum, err)
	}
}

// TestIncarnationsAreCheap: what is long dead is not listed again.
func TestIncarnationsAreCheap(t *testing.T) {
	b := fake(t)
	for range 6 {
		b.open(t).Close()
	}
	s := closing(t, b.open(t))
	var sizes []int64
	for range 4 {
		before, err := s.Stat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all, err := s.Incarnations(t.Context())
		if err != nil || len(all) != 7 {
			t.Fatalf("Incarnations: %v, %v", all, err)
		}
		after, _ := s.Stat(t.Context())
		sizes = append(sizes, after.Received-before.Received)
	}
	if sizes[3] > sizes[0]/3 {
		t.Errorf("octets of the listings of 6 dead incarnations: %v", sizes)
	}
}

// TestManyBegin has processes begin at the same moment: each gets a number of its own.
func TestManyBegin(t *testing.T) {
	b := fake(t)
	var mu sync.Mutex
	seen := map[uint64]bool{}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			s, err := b.tryOpen(t)
			if err != nil {
				t.Error(err)
				return
			}
			id := blobtest.Commit(t, s, blobtest.NewMessage(uint64(i), 10))
			mu.Lock()
			if seen[id.Incarnation] {
				t.Errorf("incarnation %d is given twice", id.Incarnation)
			}
			seen[id.Incarnation] = true
			mu.Unlock()
			s.Close()
		})
	}
	wg.Wait()
	s := closing(t, b.open(t))
	found := map[uint64]bool{}
	for _, f := range blobtest.ScanAll(t, s) {
		found[f.ID.Incarnation] = true
	}
	if len(found) != 6 {
		t.Errorf("found %v of %v", found, seen)
	}
}

// pattern makes a body of any length without holding it.
type pattern struct{ at int64 }

var patternBlock = blobtest.Octets(7, 1<<20-7)

func (p *pattern) Read(b []byte) (int, error) {
	n := copy(b, patternBlock[p.at%int64(len(patternBlock)):])
	p.at += int64(n)
	return n, nil
}

// TestLargeBodies writes and reads bodies of 200 MB at once: memory does not grow with them.
func TestLargeBodies(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 400 MB")
	}
	const bodies, size = 2, 200 << 20
	s := closing(t, real(t, servers.S3(t)).open(t))
	stop := make(chan struct{})
	peak := make(chan uint64)
	base := heap()
	go func() {
		most := uint64(0)
		for {
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(10 * time.Millisecond):
				most = max(most, heap())
			}
		}
	}()
	var wg sync.WaitGroup
	for range bodies {
		wg.Go(func() {
			d, err := s.Create(blob.ID{})
			if err != nil {
				t.Error(err)
				return
			}
			defer d.Discard()
			digest := blake3.New()
			if _, err := io.CopyBuffer(struct{ io.Writer }{d}, io.TeeReader(io.LimitReader(&pattern{}, size), digest), make([]byte, 32<<10)); err != nil {
				t.Error(err)
				return
			}
			part := make([]byte, 1000)
			want := make([]byte, 1000)
			(&pattern{at: 20<<20 + 5}).Read(want)
			if _, err := d.ReadAt(part, 20<<20+5); err != nil || !bytes.Equal(part, want) {
				t.Errorf("ReadAt of the draft: %v", err)
			}
			id, err := d.Commit(context.Background(), blob.Meta{Kind: blob.Accepted})
			if err != nil {
				t.Error(err)
				return
			}
			f, err := s.Open(context.Background(), id)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			again := blake3.New()
			if _, err := io.CopyBuffer(struct{ io.Writer }{again}, struct{ io.Reader }{f.Reader()}, make([]byte, 32<<10)); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(again.Sum(nil), digest.Sum(nil)) || f.Size != size {
				t.Errorf("body of %d octets differs", f.Size)
			}
		})
	}
	wg.Wait()
	close(stop)
	// Spool buffers, windows of readers, and as much again that is not collected yet: 8 MiB for each body, whatever its length.
	if most := <-peak; most > base+bodies*8<<20 {
		t.Errorf("memory grew by %d MiB for %d bodies of %d MiB", (most-base)>>20, bodies, size>>20)
	} else {
		t.Logf("memory grew by %d KiB for %d bodies of %d MiB", (int64(most)-int64(base))>>10, bodies, size>>20)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestProbe asks servers that can and cannot.
func TestProbe(t *testing.T) {
	t.Run("in process", func(t *testing.T) {
		report, err := s3.Probe(t.Context(), fake(t).cfg)
		if err != nil || !report.OK() || strings.Contains(report.String(), "\n") {
			t.Errorf("%v, %v", report, err)
		}
	})
	t.Run("versitygw", func(t *testing.T) {
		b := real(t, servers.S3WithTLS(t))
		report, err := s3.Probe(t.Context(), b.cfg)
		if err != nil || !report.OK() {
			t.Errorf("%v, %v", report, err)
		}
		if left := b.keys(t, ""); len(left) > 0 {
			t.Errorf("the probe left %v", left)
		}
	})
	for name, header := range map[string]string{"conditional put": "If-None-Match", "range": "Range", "Content-MD5": "Content-Md5"} {
		t.Run("no "+name, func(t *testing.T) {
			next := backend()
			b := at(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Del(header)
				next.ServeHTTP(w, r)
			}))
			report, err := s3.Probe(t.Context(), b.cfg)
			if err != nil || report.OK() || strings.Count(report.String(), "(") < 1 || !strings.Contains(report.String(), name+" (") {
				t.Errorf("%v, %v", report, err)
			}
			s, err := b.tryOpen(t)
			if err == nil {
				s.Close()
			}
			if (err != nil) != (name == "conditional put") {
				t.Errorf("Open: %v", err)
			}
		})
	}
	t.Run("away", func(t *testing.T) {
		server := servers.S3(t)
		b := real(t, server)
		server.Stop()
		report, err := s3.Probe(t.Context(), s3.Config{Endpoint: b.cfg.Endpoint, Bucket: b.cfg.Bucket, AccessKey: "a", SecretKey: "b",
			Spool: t.TempDir(), RetryFor: 10 * time.Millisecond})
		if err != nil || report.OK() {
			t.Errorf("%v, %v", report, err)
		}
	})
}

// TestPrepare makes a bucket, once.
func TestPrepare(t *testing.T) {
	server := servers.S3(t)
	cfg := real(t, server).cfg
	cfg.Bucket = "new-bucket"
	for range 2 {
		if err := s3.Prepare(t.Context(), cfg); err != nil {
			t.Errorf("Prepare: %v", err)
		}
	}
	if report, err := s3.Probe(t.Context(), cfg); err != nil || !report.OK() {
		t.Errorf("%v, %v", report, err)
	}
	server.Stop()
	if err := s3.Prepare(t.Context(), cfg); !errors.Is(err, s3.ErrAway) {
		t.Errorf("Prepare while the server is away: %v", err)
	}
}

// TestOpenRefused opens what is not there, or with other keys.
func TestOpenRefused(t *testing.T) {
	b := real(t, servers.S3WithTLS(t))
	for name, change := range map[string]func(*s3.Config){
		"no such bucket": func(c *s3.Config) { c.Bucket = "another" },
		"wrong key":      func(c *s3.Config) { c.SecretKey = "wrong" },
		"unknown CA":     func(c *s3.Config) { c.CAFile = "" },
		"no such CA":     func(c *s3.Config) { c.CAFile = "/nonexistent" },
		"nobody there":   func(c *s3.Config) { c.Endpoint = "http://127.0.0.1:1"; c.CAFile = "" },
		"not TLS":        func(c *s3.Config) { c.Endpoint = strings.Replace(c.Endpoint, "https:", "http:", 1); c.CAFile = "" },
	} {
		s, err := b.tryOpen(t, change, func(c *s3.Config) { c.RetryFor = 100 * time.Millisecond })
		if err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
		} else if away := errors.Is(err, s3.ErrAway); away != (name == "unknown CA" || name == "not TLS" || name == "nobody there") {
			t.Errorf("%s: away is %v: %v", name, away, err)
		}
	}
}

// TestOddTags writes to a server whose ETags are no MD5, as with encryption at rest.
func TestOddTags(t *testing.T) {
	way := newFaulty(backend())
	b := at(t, way)
	way.set(func(r *http.Request) action {
		if r.Method == http.MethodPut && r.URL.Query().Get("partNumber") == "" {
			return mistag
		}
		return pass
	})
	s := closing(t, b.open(t))
	w := newWorld(t)
	heads := counted(t, s, "HEAD", func() { w.commitAtOnce(s, 100, 5000, 300_000) })
	if len(w.answered) != 3 || heads < 3 {
		t.Errorf("%v, %d HEADs", w, heads)
	}
	w.check(s, "end")
}

// TestRandomReads reads a body here and there, at once: one apart, and one in a long frame.
func TestRandomReads(t *testing.T) {
	for name, threshold := range map[string]int{"apart": 256 << 10, "in a long frame": 4 << 20} {
		t.Run(name, func(t *testing.T) {
			b := fake(t)
			s := closing(t, b.open(t, func(c *s3.Config) { c.ReadAhead, c.Threshold, c.CacheBytes = 256<<10, threshold, -1 }))
			m := blobtest.NewMessage(1, 3_000_000)
			id := blobtest.Commit(t, s, m)
			if bodies := len(b.keys(t, "blob/body/")); (bodies == 1) != (name == "apart") {
				t.Errorf("%d bodies apart", bodies)
			}
			f, err := s.Open(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 60 {
						off, n := rand.IntN(len(m.Body)), rand.IntN(500_000)*rand.IntN(2)+rand.IntN(3000)
						got := make([]byte, n)
						k, err := f.Body.ReadAt(got, int64(off))
						if want := m.Body[off:min(off+n, len(m.Body))]; !bytes.Equal(got[:k], want) || k < n && !errors.Is(err, io.EOF) {
							t.Errorf("ReadAt(%d, %d): %d, %v", n, off, k, err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestReadFaults has every third read fail: each is tried again.
func TestReadFaults(t *testing.T) {
	for name, kind := range map[string]action{"refuse": refuse, "answer lost": lose, "connection lost": vanish, "answer cut": truncate} {
		t.Run(name, func(t *testing.T) {
			way := newFaulty(backend())
			s := closing(t, at(t, way).open(t, func(c *s3.Config) { c.CacheBytes = -1 }))
			w := newWorld(t)
			w.commitAtOnce(s, 0, 5000, 200_000, 300_000, 3_000_000)
			var n atomic.Int32
			way.set(func(r *http.Request) action {
				if r.Method == http.MethodGet && n.Add(1)%3 == 1 {
					return kind
				}
				return pass
			})
			w.check(s, "read")
			if len(w.answered) != 5 || n.Load() < 10 {
				t.Errorf("%v, %d reads", w, n.Load())
			}
		})
	}
}

// TestApartDamage has octets of a body apart rot: its sound blocks are read.
func TestApartDamage(t *testing.T) {
	b := fake(t)
	s := closing(t, b.open(t))
	m := blobtest.NewMessage(1, 1<<20)
	id := blobtest.Commit(t, s, m)
	keys := b.keys(t, "blob/body/")
	if len(keys) != 1 {
		t.Fatal(keys)
	}
	data := b.read(t, keys[0])
	data[300_000] ^= 1
	b.write(t, keys[0], data)
	f, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := io.ReadAll(f.Reader())
	if !errors.Is(err, blob.ErrCorrupt) || len(got) != 4*64<<10 {
		t.Errorf("read: %d octets, %v", len(got), err)
	}
	if _, err := f.Body.ReadAt(got[:1000], 5*64<<10); err != nil || !bytes.Equal(got[:1000], m.Body[5*64<<10:][:1000]) {
		t.Errorf("behind the damage: %v", err)
	}
	b.write(t, keys[0], data[:400_000])
	if _, err := f.Body.ReadAt(got[:1000], 600_000); !errors.Is(err, blob.ErrCorrupt) {
		t.Errorf("behind the end of a short object: %v", err)
	}
}

// TestValidate tells all faults at once.
func TestValidate(t *testing.T) {
	c := s3.Config{Endpoint: "ftp://x", Prefix: "/x", AccessKey: "a", AccessKeyFile: "b", SegmentBytes: 1 << 40, Parallel: -1,
		PartSize: 100, RetryFor: -1, Heartbeat: time.Hour, Threshold: -1}
	c.Defaults()
	err := c.Validate()
	for _, key := range []string{"endpoint", "bucket", "prefix", "access_key", "secret_key", "segment_bytes", "parallel", "part_size",
		"retry_for", "dead_after", "threshold"} {
		if err == nil || !strings.Contains(err.Error(), key+":") {
			t.Errorf("%s is not told: %v", key, err)
		}
	}
	for _, sound := range []s3.Config{{}, {Endpoint: "s3.example.org", Bucket: "b", AccessKey: "a", SecretKeyFile: "f"}} {
		sound.Defaults()
		if err := sound.Validate(); err != nil {
			t.Errorf("%+v: %v", sound, err)
		}
	}
}

// TestKeyFiles opens with keys from files.
func TestKeyFiles(t *testing.T) {
	b := real(t, servers.S3(t))
	dir := t.TempDir()
	access, secret := fmt.Sprintf("%s/access", dir), fmt.Sprintf("%s/secret", dir)
	writeFile(t, access, b.cfg.AccessKey+"\n")
	writeFile(t, secret, b.cfg.SecretKey+"\n")
	closing(t, b.open(t, func(c *s3.Config) {
		c.AccessKey, c.SecretKey, c.AccessKeyFile, c.SecretKeyFile = "", "", access, secret
	}))
}
