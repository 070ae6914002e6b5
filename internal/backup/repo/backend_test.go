package repo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// backends are the places that a repository may be in; each call of open gives the same one again.
var backends = []struct {
	name string
	open func(t *testing.T) (open func() repo.Backend)
}{
	{"dir", func(t *testing.T) func() repo.Backend {
		folder := t.TempDir() + "/repository"
		return func() repo.Backend {
			d, err := repo.OpenDir(folder, true)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
	}},
	{"gofakes3", func(t *testing.T) func() repo.Backend {
		memory := s3mem.New()
		if err := memory.CreateBucket("backup"); err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(gofakes3.New(memory).Server())
		t.Cleanup(srv.Close)
		return openS3(t, repo.S3Config{Endpoint: srv.URL, Region: "us-east-1", Bucket: "backup", Prefix: "mail/", AccessKey: "a", SecretKey: "b"})
	}},
	{"sealed dir", func(t *testing.T) func() repo.Backend {
		folder := t.TempDir() + "/repository"
		return sealed(t, func() repo.Backend {
			d, err := repo.OpenDir(folder, true)
			if err != nil {
				t.Fatal(err)
			}
			return d
		})
	}},
	{"sealed gofakes3", func(t *testing.T) func() repo.Backend {
		memory := s3mem.New()
		if err := memory.CreateBucket("backup"); err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(gofakes3.New(memory).Server())
		t.Cleanup(srv.Close)
		return sealed(t, openS3(t, repo.S3Config{Endpoint: srv.URL, Region: "us-east-1", Bucket: "backup", Prefix: "mail/", AccessKey: "a", SecretKey: "b"}))
	}},
	{"versitygw", func(t *testing.T) func() repo.Backend {
		s := servers.S3(t)
		return openS3(t, repo.S3Config{Endpoint: s.Endpoint, Region: "us-east-1", Bucket: s.Bucket(t), Prefix: "mail/", AccessKey: s.AccessKey, SecretKey: s.SecretKey})
	}},
}

func openS3(t *testing.T, cfg repo.S3Config) func() repo.Backend {
	return func() repo.Backend {
		s, err := repo.OpenS3(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// eachBackend runs a test over all places.
func eachBackend(t *testing.T, test func(t *testing.T, open func() repo.Backend)) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) { test(t, b.open(t)) })
	}
}

func get(t *testing.T, b repo.Backend, name string, offset, length int64) string {
	t.Helper()
	r, err := b.Get(t.Context(), name, offset, length)
	if err != nil {
		t.Fatalf("Get %s: %v", name, err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("Get %s: %v", name, err)
	}
	return string(got)
}

func TestBackend(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func() repo.Backend) {
		b, ctx := open(), t.Context()
		put := func(name, text string) {
			t.Helper()
			if err := b.Put(ctx, name, bytes.NewReader([]byte(text)), int64(len(text))); err != nil {
				t.Fatalf("Put %s: %v", name, err)
			}
		}
		if list, err := b.List(ctx, "packs"); err != nil || len(list) != 0 {
			t.Errorf("List of nothing: %v, %v", list, err)
		}
		if _, err := b.Get(ctx, "packs/none", 0, -1); !errors.Is(err, repo.ErrNotFound) {
			t.Errorf("Get of what is not there: %v, want ErrNotFound", err)
		}
		if err := b.Remove(ctx, "packs/none"); err != nil {
			t.Errorf("Remove of what is not there: %v", err)
		}
		put("packs/two", "0123456789")
		put("packs/one", "first")
		put("packs/one", "again")
		for _, tt := range []struct {
			name           string
			offset, length int64
			want           string
		}{
			{"packs/two", 0, -1, "0123456789"}, {"packs/two", 3, 4, "3456"}, {"packs/two", 7, -1, "789"}, {"packs/two", 2, 0, ""},
			{"packs/one", 0, -1, "again"},
		} {
			if got := get(t, b, tt.name, tt.offset, tt.length); got != tt.want {
				t.Errorf("Get %s, %d octets at %d: %q, want %q", tt.name, tt.length, tt.offset, got, tt.want)
			}
		}
		list, err := open().List(ctx, "packs")
		for i := range list {
			if strings.HasPrefix(t.Name(), "TestBackend/sealed") && list[i].Size > 0 {
				list[i].Size = int64(5 * (i + 1)) // files are larger than what is in them
			}
		}
		if want := []repo.File{{Name: "packs/one", Size: 5}, {Name: "packs/two", Size: 10}}; err != nil || !slices.Equal(list, want) {
			t.Errorf("List: %v, %v, want %v", list, err, want)
		}
		if err := b.Remove(ctx, "packs/one"); err != nil {
			t.Errorf("Remove: %v", err)
		}
		if _, err := b.Get(ctx, "packs/one", 0, -1); !errors.Is(err, repo.ErrNotFound) {
			t.Errorf("Get of what was removed: %v, want ErrNotFound", err)
		}
	})
}

func TestLock(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func() repo.Backend) {
		release, err := open().Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open().Lock(t.Context()); !errors.Is(err, repo.ErrLocked) {
			t.Errorf("a second lock: %v, want ErrLocked", err)
		}
		if err := release(); err != nil {
			t.Errorf("release: %v", err)
		}
		again, err := open().Lock(context.Background())
		if err != nil {
			t.Fatalf("a lock behind the first: %v", err)
		}
		if err := again(); err != nil {
			t.Errorf("release: %v", err)
		}
	})
}
