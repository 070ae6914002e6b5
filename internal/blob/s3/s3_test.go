package s3_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"go.uber.org/goleak"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// bucket is one of a server of a test.
type bucket struct {
	cfg    s3.Config
	client *minio.Client
}

// backend is an S3 server in this process that several stores reach on ways of their own.
func backend() http.Handler { return gofakes3.New(s3mem.New()).Server() }

// fake is a bucket of a server in this process.
func fake(t testing.TB) *bucket { return at(t, backend()) }

// at is the bucket of a handler, which has it already or makes it.
func at(t testing.TB, h http.Handler) *bucket {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := minio.New(server.Listener.Addr().String(), &minio.Options{
		Creds: credentials.NewStaticV4("mailfarm", "mailfarm-secret", ""), Region: "us-east-1", Transport: transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	if there, err := client.BucketExists(context.Background(), "mail"); err != nil {
		t.Fatal(err)
	} else if !there {
		if err := client.MakeBucket(context.Background(), "mail", minio.MakeBucketOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return &bucket{client: client, cfg: config(t, server.URL, "mail", "mailfarm", "mailfarm-secret")}
}

// real is a bucket of a versitygw.
func real(t testing.TB, server *servers.S3Server) *bucket {
	t.Helper()
	cfg := config(t, server.Endpoint, server.Bucket(t), server.AccessKey, server.SecretKey)
	cfg.CAFile = server.CAFile
	return &bucket{client: server.Client(t), cfg: cfg}
}

// config is that of tests: patience for a machine that is busy, haste where something fails.
func config(t testing.TB, endpoint, bucket, access, secret string) s3.Config {
	return s3.Config{
		Endpoint: endpoint, Bucket: bucket, AccessKey: access, SecretKey: secret, Spool: t.TempDir(),
		SegmentTime: 2 * time.Millisecond, RetryFor: 10 * time.Second,
	}
}

func (b *bucket) open(t testing.TB, change ...func(*s3.Config)) *s3.Store {
	t.Helper()
	s, err := b.tryOpen(t, change...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *bucket) tryOpen(t testing.TB, change ...func(*s3.Config)) (*s3.Store, error) {
	cfg := b.cfg
	for _, c := range change {
		c(&cfg)
	}
	return s3.Open(context.Background(), cfg, s3.Options{Log: quiet})
}

// closing closes the store at the end of the test.
func closing(t testing.TB, s *s3.Store) *s3.Store {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func (b *bucket) read(t testing.TB, key string) []byte {
	t.Helper()
	o, err := b.client.GetObject(context.Background(), b.cfg.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	data, err := io.ReadAll(o)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return data
}

func (b *bucket) write(t testing.TB, key string, data []byte) {
	t.Helper()
	_, err := b.client.PutObject(context.Background(), b.cfg.Bucket, key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// keys lists what the bucket holds below a prefix.
func (b *bucket) keys(t testing.TB, prefix string) (all []string) {
	t.Helper()
	for o := range b.client.ListObjects(context.Background(), b.cfg.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		all = append(all, o.Key)
	}
	return all
}

func segmentKey(id blob.ID) string {
	return fmt.Sprintf("blob/seg/%020d/%010d", id.Incarnation, id.Segment)
}

// corrupt changes an octet of a frame.
func (b *bucket) corrupt(t testing.TB, id blob.ID, offset uint32) {
	t.Helper()
	data := b.read(t, segmentKey(id))
	data[id.Offset+offset] ^= 0x40
	b.write(t, segmentKey(id), data)
}

func (b *bucket) place(change ...func(*s3.Config)) blobtest.Place {
	return blobtest.Place{
		Open:    func(t *testing.T) blob.Store { return b.open(t, change...) },
		Corrupt: func(t *testing.T, id blob.ID, offset uint32) { b.corrupt(t, id, offset) },
	}
}

// TestContract runs the suite on a server in this process and on a real one, with TLS, and without a cache.
func TestContract(t *testing.T) {
	plain := func(*s3.Config) {}
	noCache := func(c *s3.Config) { c.CacheBytes = -1 }
	t.Run("in process", func(t *testing.T) {
		blobtest.Run(t, func(t *testing.T) blobtest.Place { return fake(t).place(noCache) })
	})
	t.Run("in process with a cache", func(t *testing.T) {
		blobtest.Run(t, func(t *testing.T) blobtest.Place { return fake(t).place(plain) })
	})
	t.Run("versitygw", func(t *testing.T) {
		server := servers.S3(t)
		blobtest.Run(t, func(t *testing.T) blobtest.Place { return real(t, server).place(noCache) })
	})
	t.Run("versitygw with TLS", func(t *testing.T) {
		server := servers.S3WithTLS(t)
		blobtest.Run(t, func(t *testing.T) blobtest.Place { return real(t, server).place(plain) })
	})
}

// TestReclaimer runs the suite of giving room back.
func TestReclaimer(t *testing.T) {
	change := func(c *s3.Config) { c.Heartbeat, c.DeadAfter = 50*time.Millisecond, time.Minute }
	t.Run("in process", func(t *testing.T) {
		blobtest.RunReclaimer(t, func(t *testing.T) blobtest.Place { return fake(t).place(change) })
	})
	t.Run("versitygw", func(t *testing.T) {
		server := servers.S3(t)
		blobtest.RunReclaimer(t, func(t *testing.T) blobtest.Place {
			return real(t, server).place(change, func(c *s3.Config) { c.CacheBytes = -1 })
		})
	})
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
