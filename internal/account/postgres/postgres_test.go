package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/account/accounttest"
	"github.com/mailfarm/mailfarm/internal/account/postgres"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

func open(t testing.TB, url string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(context.Background(), pgdb.Config{URL: url, MaxConns: 8}, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fresh is the URL of a database with an empty directory.
func fresh(t testing.TB) string {
	t.Helper()
	url := servers.Postgres(t).URL
	if err := postgres.Migrate(context.Background(), pgdb.Config{URL: url}); err != nil {
		t.Fatal(err)
	}
	return url
}

func TestContract(t *testing.T) {
	urls := map[account.Store]string{}
	accounttest.Run(t, accounttest.Backend{
		New: func(t *testing.T) account.Store {
			url := fresh(t)
			s := open(t, url)
			urls[s] = url
			return s
		},
		Reopen: func(t *testing.T, s account.Store) account.Store {
			if err := s.(*postgres.Store).Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, urls[s])
		},
	})
}

func TestSchemaIsNotMadeByOpen(t *testing.T) {
	_, err := postgres.Open(t.Context(), pgdb.Config{URL: servers.Postgres(t).URL}, postgres.Options{})
	if !errors.Is(err, pgdb.ErrSchema) {
		t.Errorf("got %v, want ErrSchema", err)
	}
}

// TestSecretIsMadeOnce opens a new directory from several processes at once: all get the same secret.
func TestSecretIsMadeOnce(t *testing.T) {
	url := fresh(t)
	secrets := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range secrets {
		wg.Go(func() {
			s, err := postgres.Open(context.Background(), pgdb.Config{URL: url, MaxConns: 2}, postgres.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			secrets[i], _ = s.Secret(context.Background())
		})
	}
	wg.Wait()
	for i, s := range secrets {
		if len(s) != 32 || !bytes.Equal(s, secrets[0]) {
			t.Errorf("process %d: %d octets, the first one's: %t; want all to have the same 32", i, len(s), bytes.Equal(s, secrets[0]))
		}
	}
}

// TestTwoDirectories changes the same directory from two processes at once: the versions that changes get are all different,
// one of two that add the same address wins, and what one answered the other finds.
func TestTwoDirectories(t *testing.T) {
	const each = 40
	url := fresh(t)
	stores := [2]*postgres.Store{open(t, url), open(t, url)}
	ctx := t.Context()
	if err := stores[0].AddDomain(ctx, account.Domain{Name: "example.org"}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	versions := map[uint64]string{} // guarded by mu
	added := map[string]int{}       // guarded by mu
	var wg sync.WaitGroup
	for w, s := range stores {
		wg.Go(func() {
			for i := range each {
				address := fmt.Sprintf("u%d@example.org", i)
				o, err := s.PutAccounts(ctx, []account.Change{{Account: account.Account{ID: mailbox.AccountID(1 + w*each + i), Address: address, Credential: "x"}}})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if o[0].Added {
					added[address]++
					if other := versions[o[0].Account.Version]; other != "" {
						t.Errorf("%s and %s got version %d", other, address, o[0].Account.Version)
					}
					versions[o[0].Account.Version] = address
				} else if !errors.Is(o[0].Err, account.ErrExists) {
					t.Errorf("%s: got %v, want it added or ErrExists", address, o[0].Err)
				}
				mu.Unlock()
				rs, err := stores[1-w].Lookup(ctx, []account.Key{account.Key(address)})
				if err != nil || rs[0].Account == nil {
					t.Errorf("%s: the other process got %v, %v", address, rs, err)
				}
			}
		})
	}
	wg.Wait()
	for i := range each {
		if n := added[fmt.Sprintf("u%d@example.org", i)]; n != 1 {
			t.Errorf("u%d was added %d times", i, n)
		}
	}
}

// TestStaleVersion shows that whoever reads the version before it looks up never keeps an old answer under a new version.
func TestStaleVersion(t *testing.T) {
	url := fresh(t)
	writer, reader := open(t, url), open(t, url)
	ctx := t.Context()
	if err := writer.AddDomain(ctx, account.Domain{Name: "example.org"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 100 {
			if _, err := writer.PutAccounts(ctx, []account.Change{{Mode: account.AddOrUpdate,
				Account: account.Account{ID: 1, Address: "a@example.org", Credential: fmt.Sprint(i)}}}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		before, err := reader.Version(ctx)
		if err != nil {
			t.Fatal(err)
		}
		rs, err := reader.Lookup(ctx, []account.Key{"a@example.org"})
		if err != nil {
			t.Fatal(err)
		}
		// Every change after the domain's is one of the account: its version is that of the directory, or later.
		if a := rs[0].Account; a != nil && a.Version < before {
			t.Fatalf("the directory had version %d, and a look-up afterwards found the account as of %d", before, a.Version)
		}
	}
}

func TestIDsAreUnique(t *testing.T) {
	s := open(t, fresh(t))
	ctx := t.Context()
	if err := s.AddDomain(ctx, account.Domain{Name: "example.org"}); err != nil {
		t.Fatal(err)
	}
	add := func(addresses ...string) error {
		var changes []account.Change
		for _, a := range addresses {
			changes = append(changes, account.Change{Account: account.Account{ID: 7, Address: a + "@example.org"}})
		}
		_, err := s.PutAccounts(ctx, changes)
		return err
	}
	if err := add("a"); err != nil {
		t.Fatal(err)
	}
	version, _ := s.Version(ctx)
	if add("b") == nil || add("c", "d") == nil {
		t.Error("a second account got the id of the first")
	}
	if list, err := s.ListAccounts(ctx, ""); err != nil || len(list) != 1 {
		t.Errorf("got %v, %v; want nothing written of what failed", list, err)
	}
	if again, _ := s.Version(ctx); again != version {
		t.Errorf("version %d after changes that failed, want %d", again, version)
	}
}

func TestNULIsNoAddress(t *testing.T) {
	s := open(t, fresh(t))
	rs, err := s.Lookup(t.Context(), []account.Key{"a\x00@example.org", account.DomainKey("\x00")})
	if err != nil || rs[0] != (account.Record{}) || rs[1] != (account.Record{}) {
		t.Errorf("got %v, %v; want nothing found", rs, err)
	}
}

func BenchmarkLookup(b *testing.B) {
	s := open(b, fresh(b))
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
