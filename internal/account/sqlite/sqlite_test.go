package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/account/accounttest"
	"github.com/mailfarm/mailfarm/internal/account/sqlite"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

func open(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestContract(t *testing.T) {
	paths := map[account.Store]string{}
	accounttest.Run(t, accounttest.Backend{
		New: func(t *testing.T) account.Store {
			path := filepath.Join(t.TempDir(), "directory.db")
			s := open(t, path)
			paths[s] = path
			return s
		},
		Reopen: func(t *testing.T, s account.Store) account.Store {
			if err := s.(*sqlite.Store).Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, paths[s])
		},
	})
}

func TestSecondProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "directory.db")
	open(t, path)
	if _, err := sqlite.Open(t.Context(), path); !errors.Is(err, sqlitedb.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
}

func BenchmarkLookup(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "directory.db"))
	if err := s.AddDomain(b.Context(), account.Domain{Name: "example.org"}); err != nil {
		b.Fatal(err)
	}
	var changes []account.Change
	for i := range 10_000 {
		changes = append(changes, account.Change{Account: account.Account{ID: mailbox.AccountID(i + 1), Address: fmt.Sprintf("u%d@example.org", i)}})
	}
	if _, err := s.PutAccounts(b.Context(), changes); err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 50} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			keys := make([]account.Key, n)
			for i := range keys {
				keys[i] = account.Key(fmt.Sprintf("u%d@example.org", i*31))
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Lookup(b.Context(), keys); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
