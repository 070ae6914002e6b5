// Package accounttest is the contract of account.Store as tests: every implementation runs them.
package accounttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Backend opens stores for a test.
type Backend struct {
	// New makes an empty store that ends with the test.
	New func(t *testing.T) account.Store
	// Reopen closes a store that New or Reopen gave and opens the same data again.
	Reopen func(t *testing.T, s account.Store) account.Store
}

// Run runs the suite.
func Run(t *testing.T, b Backend) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Backend)
	}{
		{"Domains", testDomains},
		{"Accounts", testAccounts},
		{"PutTellsOfEach", testPutTellsOfEach},
		{"Aliases", testAliases},
		{"Lookup", testLookup},
		{"LookupOfMany", testLookupOfMany},
		{"RemoveDomain", testRemoveDomain},
		{"RemovedAccounts", testRemovedAccounts},
		{"Sharing", testSharing},
		{"VersionGrows", testVersionGrows},
		{"SurvivesReopen", testSurvivesReopen},
		{"Concurrent", testConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, b) })
	}
}

var (
	created = time.Unix(1_700_000_000, 123456789)
	removed = created.Add(time.Hour)
)

func domain(t *testing.T, s account.Store, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := s.AddDomain(t.Context(), account.Domain{Name: n, Created: created}); err != nil {
			t.Fatal(err)
		}
	}
}

func change(mode account.Mode, id uint64, address, secret string) account.Change {
	return account.Change{Mode: mode, Account: account.Account{
		ID: mailbox.AccountID(id), Address: address, Credential: secret, Created: created,
	}}
}

func put(t *testing.T, s account.Store, changes ...account.Change) []account.Outcome {
	t.Helper()
	outcomes, err := s.PutAccounts(t.Context(), changes)
	if err != nil {
		t.Fatal(err)
	}
	if len(outcomes) != len(changes) {
		t.Fatalf("got %d outcomes for %d changes", len(outcomes), len(changes))
	}
	return outcomes
}

func lookup(t *testing.T, s account.Store, keys ...account.Key) []account.Record {
	t.Helper()
	records, err := s.Lookup(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != len(keys) {
		t.Fatalf("got %d records for %d keys", len(records), len(keys))
	}
	return records
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

func testDomains(t *testing.T, b Backend) {
	s := b.New(t)
	if r := lookup(t, s, account.PrimaryDomain)[0]; r.Domain != nil {
		t.Errorf("primary domain of an empty directory: got %v, want none", r.Domain)
	}
	// The first added is the primary one, whatever the alphabet says.
	domain(t, s, "zebra.example", "apple.example")
	wantErr(t, "adding a domain twice", s.AddDomain(t.Context(), account.Domain{Name: "apple.example"}), account.ErrExists)
	wantErr(t, "catch-all of an unknown domain", s.SetCatchAll(t.Context(), "x.example", "a@apple.example"), account.ErrNotFound)
	if err := s.SetCatchAll(t.Context(), "apple.example", "all@apple.example"); err != nil {
		t.Fatal(err)
	}
	got, err := s.Domains(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []account.Domain{{Name: "zebra.example", Created: created}, {Name: "apple.example", CatchAll: "all@apple.example", Created: created}}
	if !slices.EqualFunc(got, want, func(a, b account.Domain) bool {
		return a.Name == b.Name && a.CatchAll == b.CatchAll && a.Created.Equal(b.Created)
	}) {
		t.Errorf("Domains() = %v, want %v", got, want)
	}
	rs := lookup(t, s, account.PrimaryDomain, account.DomainKey("apple.example"), account.DomainKey("x.example"))
	if rs[0].Domain == nil || rs[0].Domain.Name != "zebra.example" {
		t.Errorf("primary domain: got %v, want zebra.example", rs[0].Domain)
	}
	if rs[1].Domain == nil || rs[1].Domain.CatchAll != "all@apple.example" {
		t.Errorf("apple.example: got %v, want its catch-all", rs[1].Domain)
	}
	if rs[2].Domain != nil {
		t.Errorf("unknown domain: got %v, want none", rs[2].Domain)
	}
}

func testAccounts(t *testing.T, b Backend) {
	s := b.New(t)
	domain(t, s, "example.org", "example.net")
	first := put(t, s, change(account.Add, 1<<62, "bob@example.org", "s1"), change(account.Add, 2, "alice@example.org", "s2"),
		change(account.Add, 3, "carol@example.net", "s3"))
	for i, o := range first {
		if o.Err != nil || !o.Added {
			t.Errorf("account %d: got %+v, want it added", i, o)
		}
	}
	list, err := s.ListAccounts(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range list {
		names = append(names, a.Address)
	}
	if want := []string{"alice@example.org", "bob@example.org", "carol@example.net"}; !slices.Equal(names, want) {
		t.Errorf("ListAccounts(all) = %q, want %q", names, want)
	}
	if list, err = s.ListAccounts(t.Context(), "example.net"); err != nil || len(list) != 1 || list[0].ID != 3 || !list[0].Created.Equal(created) {
		t.Errorf("ListAccounts(example.net) = %v, %v; want carol alone", list, err)
	}
	by, err := s.Accounts(t.Context(), []mailbox.AccountID{2, 99, 1 << 62})
	if err != nil {
		t.Fatal(err)
	}
	if by[0] == nil || by[0].Address != "alice@example.org" || by[1] != nil || by[2] == nil || by[2].Address != "bob@example.org" {
		t.Errorf("Accounts by id: got %v, want alice, none, bob", by)
	}
	second := put(t, s, change(account.Update, 77, "alice@example.org", "s4"))[0]
	if second.Err != nil || second.Added || second.Account.ID != 2 || second.Account.Credential != "s4" {
		t.Errorf("update: got %+v, want alice's id 2 with the new credential", second)
	}
	if second.Account.Version <= first[1].Account.Version {
		t.Errorf("version after the update: got %d, want more than %d", second.Account.Version, first[1].Account.Version)
	}
	if err := s.RemoveAccount(t.Context(), "alice@example.org", removed); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "removing an account twice", s.RemoveAccount(t.Context(), "alice@example.org", removed), account.ErrNotFound)
	again := put(t, s, change(account.Add, 22, "alice@example.org", "s4"))[0]
	if again.Account.Version <= second.Account.Version {
		t.Errorf("version of an account made again: got %d, want more than %d", again.Account.Version, second.Account.Version)
	}
}

func testPutTellsOfEach(t *testing.T, b Backend) {
	s := b.New(t)
	domain(t, s, "example.org")
	if err := s.SetAlias(t.Context(), account.Alias{Address: "sales@example.org", Targets: []string{"x@example.net"}}); err != nil {
		t.Fatal(err)
	}
	got := put(t, s,
		change(account.Add, 1, "a@example.org", "1"),
		change(account.Add, 2, "a@example.org", "2"),
		change(account.AddOrUpdate, 3, "a@example.org", "3"),
		change(account.AddOrUpdate, 4, "b@example.org", "4"),
		change(account.Update, 5, "c@example.org", "5"),
		change(account.Add, 6, "d@example.com", "6"),
		change(account.AddOrUpdate, 7, "sales@example.org", "7"))
	want := []struct {
		err   error
		added bool
	}{{nil, true}, {account.ErrExists, false}, {nil, false}, {nil, true}, {account.ErrNotFound, false}, {account.ErrNoDomain, false}, {account.ErrIsAlias, false}}
	for i := range want {
		if !errors.Is(got[i].Err, want[i].err) || got[i].Added != want[i].added {
			t.Errorf("change %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	list, err := s.ListAccounts(t.Context(), "")
	if err != nil || len(list) != 2 || list[0].Credential != "3" || list[0].ID != 1 {
		t.Errorf("ListAccounts = %v, %v; want a with id 1 and credential 3, and b", list, err)
	}
}

func testAliases(t *testing.T, b Backend) {
	s := b.New(t)
	domain(t, s, "example.org")
	put(t, s, change(account.Add, 1, "alice@example.org", "1"))
	set := func(address string, targets ...string) error {
		return s.SetAlias(t.Context(), account.Alias{Address: address, Targets: targets})
	}
	wantErr(t, "alias at an account's address", set("alice@example.org", "x@example.net"), account.ErrIsAccount)
	wantErr(t, "alias elsewhere", set("alice@example.net", "x@example.net"), account.ErrNoDomain)
	for _, err := range []error{set("sales@example.org", "alice@example.org", "x@example.net"), set("sales@example.org", "y@example.net", "alice@example.org"),
		set(account.BareAlias("postmaster"), "alice@example.org"), set(account.BareAlias("a@b"), "alice@example.org")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.ListAliases(t.Context(), "")
	if err != nil || len(list) != 3 {
		t.Fatalf("ListAliases(all) = %v, %v; want three", list, err)
	}
	list, err = s.ListAliases(t.Context(), "example.org")
	if err != nil || len(list) != 1 || !slices.Equal(list[0].Targets, []string{"y@example.net", "alice@example.org"}) {
		t.Errorf("ListAliases(example.org) = %v, %v; want sales alone with its last targets in order", list, err)
	}
	rs := lookup(t, s, account.BareKey("postmaster"), account.BareKey("sales"), account.BareKey("a@b"), "sales@example.org", "alice@example.org")
	if rs[0].Alias == nil || rs[1] != (account.Record{}) || rs[2].Alias == nil || rs[3].Alias == nil || rs[4].Account == nil {
		t.Errorf("look-ups: got %+v, want postmaster, nothing, a@b, sales@ and alice's account", rs)
	}
	if err := s.RemoveAlias(t.Context(), "postmaster"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "removing an alias twice", s.RemoveAlias(t.Context(), "postmaster"), account.ErrNotFound)
}

func testLookup(t *testing.T, b Backend) {
	s := b.New(t)
	domain(t, s, "example.org")
	put(t, s, change(account.Add, 7, "ärger@example.org", "1"), change(account.Add, 8, `"a b"@example.org`, "2"))
	rs := lookup(t, s, "ärger@example.org", `"a b"@example.org`, "nobody@example.org", account.DomainKey("example.org"), "ärger@example.org")
	if rs[0].Account == nil || rs[0].Account.ID != 7 || rs[0].Account.Credential != "1" || rs[1].Account == nil || rs[1].Account.ID != 8 ||
		rs[2] != (account.Record{}) || rs[3].Domain == nil || rs[4].Account == nil {
		t.Errorf("got %+v, want two accounts, nothing, the domain, and the first account again", rs)
	}
	if rs := lookup(t, s); len(rs) != 0 {
		t.Errorf("no keys: got %v, want no records", rs)
	}
	// What a key says is data, not SQL or JSON.
	if r := lookup(t, s, account.Key(`x"],["' OR 1=1 --@example.org`))[0]; r != (account.Record{}) {
		t.Errorf("hostile key: got %+v, want nothing", r)
	}
}

func testLookupOfMany(t *testing.T, b Backend) {
	s := b.New(t)
	domain(t, s, "example.org")
	var changes []account.Change
	for i := range 500 {
		changes = append(changes, change(account.Add, uint64(i+1), fmt.Sprintf("u%d@example.org", i), "x"))
	}
	put(t, s, changes...)
	var keys []account.Key
	for i := range 2500 {
		keys = append(keys, account.Key(fmt.Sprintf("u%d@example.org", i)))
	}
	for i, r := range lookup(t, s, keys...) {
		if (r.Account != nil) != (i < 500) || r.Account != nil && r.Account.ID != mailbox.AccountID(i+1) {
			t.Fatalf("key %d: got %+v", i, r)
		}
	}
}

func testRemoveDomain(t *testing.T, b Backend) {
	s := b.New(t)
	domain(t, s, "example.org", "example.net")
	put(t, s, change(account.Add, 1, "alice@example.org", "1"))
	for _, address := range []string{"sales@example.org", "sales@example.net", "postmaster"} {
		if err := s.SetAlias(t.Context(), account.Alias{Address: address, Targets: []string{"alice@example.org"}}); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, "removing a domain with accounts", s.RemoveDomain(t.Context(), "example.org"), account.ErrInUse)
	wantErr(t, "removing an unknown domain", s.RemoveDomain(t.Context(), "example.com"), account.ErrNotFound)
	if err := s.RemoveAccount(t.Context(), "alice@example.org", removed); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveDomain(t.Context(), "example.org"); err != nil {
		t.Fatal(err)
	}
	rs := lookup(t, s, account.PrimaryDomain, "sales@example.org", "sales@example.net", "postmaster")
	if rs[0].Domain == nil || rs[0].Domain.Name != "example.net" || rs[1].Alias != nil || rs[2].Alias == nil || rs[3].Alias == nil {
		t.Errorf("got %+v, want example.net primary, the removed domain's alias gone and the others kept", rs)
	}
}

func testVersionGrows(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := t.Context()
	var last uint64
	step := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		v, err := s.Version(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if v <= last {
			t.Errorf("version after %s: got %d, want more than %d", what, v, last)
		}
		last = v
	}
	step("nothing", nil)
	step("AddDomain", s.AddDomain(ctx, account.Domain{Name: "example.org", Created: created}))
	step("SetCatchAll", s.SetCatchAll(ctx, "example.org", "a@example.org"))
	_, err := s.PutAccounts(ctx, []account.Change{change(account.Add, 1, "a@example.org", "1")})
	step("PutAccounts", err)
	step("SetAlias", s.SetAlias(ctx, account.Alias{Address: "b@example.org", Targets: []string{"a@example.org"}}))
	step("RemoveAlias", s.RemoveAlias(ctx, "b@example.org"))
	step("RemoveAccount", s.RemoveAccount(ctx, "a@example.org", removed))
	step("RemoveDomain", s.RemoveDomain(ctx, "example.org"))
}

func testSurvivesReopen(t *testing.T, b Backend) {
	s := b.New(t)
	domain(t, s, "example.org")
	put(t, s, change(account.Add, 5, "alice@example.org", "secret"))
	version, err := s.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secret, err := s.Secret(t.Context())
	if err != nil || len(secret) != 32 {
		t.Fatalf("Secret() = %d octets, %v; want 32", len(secret), err)
	}
	s = b.Reopen(t, s)
	if again, err := s.Secret(t.Context()); err != nil || !slices.Equal(again, secret) {
		t.Errorf("the secret changed, or %v", err)
	}
	if again, err := s.Version(t.Context()); err != nil || again != version {
		t.Errorf("version: got %d, %v; want %d", again, err, version)
	}
	if r := lookup(t, s, "alice@example.org")[0]; r.Account == nil || r.Account.ID != 5 || r.Account.Credential != "secret" {
		t.Errorf("alice: got %+v, want her account", r)
	}
}

func testConcurrent(t *testing.T, b Backend) {
	s := b.New(t)
	domain(t, s, "example.org")
	ctx := t.Context()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				address := fmt.Sprintf("u%d-%d@example.org", w, i)
				if o, err := s.PutAccounts(ctx, []account.Change{change(account.Add, uint64(w*1000+i+1), address, "x")}); err != nil || o[0].Err != nil {
					t.Errorf("%s: %v, %v", address, o, err)
					return
				}
				// What was written is seen by the look-up that follows.
				if err := mustFind(ctx, s, account.Key(address)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// The same address at once from several: one of them adds it.
	added := make(chan bool, 8)
	for w := range 8 {
		wg.Go(func() {
			o, err := s.PutAccounts(ctx, []account.Change{change(account.Add, uint64(100_000+w), "same@example.org", "x")})
			if err != nil {
				t.Error(err)
				return
			}
			added <- o[0].Added
		})
	}
	wg.Wait()
	close(added)
	n := 0
	for ok := range added {
		if ok {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d of 8 added the same address, want 1", n)
	}
}

func mustFind(ctx context.Context, s account.Store, key account.Key) error {
	rs, err := s.Lookup(ctx, []account.Key{key})
	if err != nil {
		return err
	}
	if rs[0].Account == nil {
		return fmt.Errorf("%s: not found right after it was added", key)
	}
	return nil
}
