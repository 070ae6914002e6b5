package directory_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/account/sqlite"
	"github.com/mailfarm/mailfarm/internal/credential"
	"github.com/mailfarm/mailfarm/internal/rpc"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	"github.com/mailfarm/mailfarm/services/directory"
)

// farm is a directory over a store in SQLite, called by gRPC.
type farm struct {
	directoryv1.DirectoryClient
	directoryv1.AccountsClient
	directoryv1.IdentitiesClient
	directoryv1.GroupsClient
	store *sqlite.Store
}

// cheap makes logins cost less; nothing else depends on it.
var cheap = directory.Config{SCRAMIterations: credential.MinIterations}

func openStore(t testing.TB) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "directory.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func serve(t testing.TB, cfg directory.Config, store *sqlite.Store) *farm {
	t.Helper()
	return serveWith(t, cfg, store, nil)
}

func serveWith(t testing.TB, cfg directory.Config, store *sqlite.Store, failures directory.Failures) *farm {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	svc, err := directory.New(cfg, directory.Deps{Store: store, Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now, Failures: failures})
	if err != nil {
		t.Fatal(err)
	}
	srv := rpc.NewServer(log)
	svc.Register(srv)
	conn, stop, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return &farm{directoryv1.NewDirectoryClient(conn), directoryv1.NewAccountsClient(conn), directoryv1.NewIdentitiesClient(conn), directoryv1.NewGroupsClient(conn), store}
}

func start(t testing.TB) *farm {
	t.Helper()
	f := serve(t, cheap, openStore(t))
	f.domain(t, "example.org")
	return f
}

func (f *farm) domain(t testing.TB, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := f.AddDomain(t.Context(), &directoryv1.AddDomainRequest{Domain: &directoryv1.Domain{Name: n}}); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *farm) account(t testing.TB, address, password string) uint64 {
	t.Helper()
	resp, err := f.AddAccount(t.Context(), &directoryv1.AddAccountRequest{Address: address, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Account.Id
}

func (f *farm) alias(t testing.TB, address string, targets ...string) {
	t.Helper()
	if _, err := f.SetAlias(t.Context(), &directoryv1.SetAliasRequest{Alias: &directoryv1.Alias{Address: address, Targets: targets}}); err != nil {
		t.Fatal(err)
	}
}

func (f *farm) resolve(t testing.TB, addresses ...string) []*directoryv1.Resolution {
	t.Helper()
	resp, err := f.Resolve(t.Context(), &directoryv1.ResolveRequest{Addresses: addresses})
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Resolutions) != len(addresses) {
		t.Fatalf("got %d resolutions for %d addresses", len(resp.Resolutions), len(addresses))
	}
	return resp.Resolutions
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: got %v (%v), want %v", what, got, err, want)
	}
}

func TestResolve(t *testing.T) {
	f := start(t)
	f.domain(t, "bücher.example", "catch.example")
	alice := f.account(t, "Alice@Example.org", "correct horse")
	plus := f.account(t, "with+plus@example.org", "correct horse")
	ada := f.account(t, "ada@bücher.example", "correct horse")
	f.alias(t, "sales@example.org", "alice@example.org", "bob@example.net")
	f.alias(t, "postmaster", "alice@example.org")
	f.alias(t, "abuse@bücher.example", "ada@bücher.example")
	f.alias(t, "@catch.example", "alice@example.org")

	type want struct {
		kind    directoryv1.Kind
		account uint64
		address string
		detail  string
		targets []string
	}
	toAlice := []string{"alice@example.org"}
	for in, w := range map[string]want{
		"alice@example.org":         {kind: directoryv1.Kind_KIND_ACCOUNT, account: alice, address: "alice@example.org"},
		"ALICE@example.ORG":         {kind: directoryv1.Kind_KIND_ACCOUNT, account: alice, address: "alice@example.org"},
		`"alice"@example.org`:       {kind: directoryv1.Kind_KIND_ACCOUNT, account: alice, address: "alice@example.org"},
		"alice+lists@example.org":   {kind: directoryv1.Kind_KIND_ACCOUNT, account: alice, address: "alice@example.org", detail: "lists"},
		"alice+a+b@example.org":     {kind: directoryv1.Kind_KIND_ACCOUNT, account: alice, address: "alice@example.org", detail: "a+b"},
		"with+plus@example.org":     {kind: directoryv1.Kind_KIND_ACCOUNT, account: plus, address: "with+plus@example.org"},
		"ada@xn--bcher-kva.example": {kind: directoryv1.Kind_KIND_ACCOUNT, account: ada, address: "ada@bücher.example"},
		"sales@example.org":         {kind: directoryv1.Kind_KIND_ALIAS, address: "sales@example.org", targets: []string{"alice@example.org", "bob@example.net"}},
		"sales+eu@example.org":      {kind: directoryv1.Kind_KIND_ALIAS, address: "sales@example.org", detail: "eu", targets: []string{"alice@example.org", "bob@example.net"}},
		"postmaster":                {kind: directoryv1.Kind_KIND_ALIAS, address: "postmaster@example.org", targets: toAlice},
		"PostMaster":                {kind: directoryv1.Kind_KIND_ALIAS, address: "postmaster@example.org", targets: toAlice},
		"postmaster@bücher.example": {kind: directoryv1.Kind_KIND_ALIAS, address: "postmaster@bücher.example", targets: toAlice},
		"postmaster@catch.example":  {kind: directoryv1.Kind_KIND_ALIAS, address: "postmaster@catch.example", targets: toAlice},
		"abuse@bücher.example":      {kind: directoryv1.Kind_KIND_ALIAS, address: "abuse@bücher.example", targets: []string{"ada@bücher.example"}},
		"abuse@example.org":         {kind: directoryv1.Kind_KIND_UNKNOWN, address: "abuse@example.org"},
		"anything@catch.example":    {kind: directoryv1.Kind_KIND_ALIAS, address: "anything@catch.example", targets: toAlice},
		"nobody@example.org":        {kind: directoryv1.Kind_KIND_UNKNOWN, address: "nobody@example.org"},
		"Bob@Example.NET":           {kind: directoryv1.Kind_KIND_REMOTE, address: "Bob@Example.NET"},
		"bob@[192.0.2.1]":           {kind: directoryv1.Kind_KIND_REMOTE, address: "bob@[192.0.2.1]"},
		"alice@sub.example.org":     {kind: directoryv1.Kind_KIND_REMOTE, address: "alice@sub.example.org"},
		"alice":                     {kind: directoryv1.Kind_KIND_INVALID, address: "alice"},
		"":                          {kind: directoryv1.Kind_KIND_INVALID, address: ""},
		"alice@":                    {kind: directoryv1.Kind_KIND_INVALID, address: "alice@"},
		"a b@example.org":           {kind: directoryv1.Kind_KIND_INVALID, address: "a b@example.org"},
	} {
		// Twice: once from the store, once from the cache.
		for _, round := range []string{"cold", "warm"} {
			r := f.resolve(t, in)[0]
			got := want{r.Kind, r.Account, r.Address, r.Detail, r.Targets}
			if got.kind != w.kind || got.account != w.account || got.address != w.address || got.detail != w.detail || !slices.Equal(got.targets, w.targets) {
				t.Errorf("%s: Resolve(%q) = %+v, want %+v", round, in, got, w)
			}
		}
	}
}

func TestResolveKeepsTheOrder(t *testing.T) {
	f := start(t)
	var addresses []string
	ids := map[string]uint64{}
	for i := range 20 {
		a := fmt.Sprintf("u%d@example.org", i)
		ids[a] = f.account(t, a, "correct horse")
		addresses = append(addresses, a, fmt.Sprintf("x%d@example.org", i), "postmaster", "a@example.net")
	}
	for range 2 {
		for i, r := range f.resolve(t, addresses...) {
			if r.Account != ids[addresses[i]] {
				t.Errorf("address %d, %s: got account %d, want %d", i, addresses[i], r.Account, ids[addresses[i]])
			}
		}
	}
}

// TestChangesAreSeenAtOnce: the cache must not outlive a change made by the same process.
func TestChangesAreSeenAtOnce(t *testing.T) {
	f := start(t)
	is := func(address string, want directoryv1.Kind) {
		t.Helper()
		if got := f.resolve(t, address)[0].Kind; got != want {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
	}
	is("alice@example.org", directoryv1.Kind_KIND_UNKNOWN)
	f.account(t, "alice@example.org", "correct horse")
	is("alice@example.org", directoryv1.Kind_KIND_ACCOUNT)
	is("sales@example.org", directoryv1.Kind_KIND_UNKNOWN)
	f.alias(t, "sales@example.org", "alice@example.org")
	is("sales@example.org", directoryv1.Kind_KIND_ALIAS)
	if _, err := f.RemoveAlias(t.Context(), &directoryv1.RemoveAliasRequest{Address: "sales@example.org"}); err != nil {
		t.Fatal(err)
	}
	is("sales@example.org", directoryv1.Kind_KIND_UNKNOWN)
	f.alias(t, "@example.org", "alice@example.org")
	is("sales@example.org", directoryv1.Kind_KIND_ALIAS)
	if _, err := f.RemoveAlias(t.Context(), &directoryv1.RemoveAliasRequest{Address: "@example.org"}); err != nil {
		t.Fatal(err)
	}
	is("sales@example.org", directoryv1.Kind_KIND_UNKNOWN)
	if _, err := f.RemoveAccount(t.Context(), &directoryv1.RemoveAccountRequest{Address: "alice@example.org"}); err != nil {
		t.Fatal(err)
	}
	is("alice@example.org", directoryv1.Kind_KIND_UNKNOWN)
	if _, err := f.RemoveDomain(t.Context(), &directoryv1.RemoveDomainRequest{Name: "example.org"}); err != nil {
		t.Fatal(err)
	}
	is("alice@example.org", directoryv1.Kind_KIND_REMOTE)
	is("postmaster", directoryv1.Kind_KIND_UNKNOWN)
}

// TestChangesOfAnotherProcess: two directories over one store stand for two processes of a farm.
func TestChangesOfAnotherProcess(t *testing.T) {
	store := openStore(t)
	one := serve(t, cheap, store)
	cfg := cheap
	cfg.CacheCheck = time.Nanosecond // always due
	two := serve(t, cfg, store)
	one.domain(t, "example.org")
	if got := two.resolve(t, "alice@example.org")[0].Kind; got != directoryv1.Kind_KIND_UNKNOWN {
		t.Fatalf("got %v, want unknown", got)
	}
	one.account(t, "alice@example.org", "correct horse")
	if got := two.resolve(t, "alice@example.org")[0].Kind; got != directoryv1.Kind_KIND_ACCOUNT {
		t.Errorf("after another process added the account: got %v, want an account", got)
	}
}

func TestOwns(t *testing.T) {
	f := start(t)
	f.domain(t, "catch.example")
	alice, bob := f.account(t, "alice@example.org", "correct horse"), f.account(t, "bob@example.org", "correct horse")
	f.account(t, "eve@catch.example", "correct horse")
	f.alias(t, "sales@example.org", "team@example.org", "x@example.net")
	f.alias(t, "team@example.org", "alice@example.org", "sales@example.org") // a loop
	f.alias(t, "postmaster", "bob@example.org")
	f.alias(t, "@catch.example", "bob@example.org")
	addresses := []string{"alice@example.org", "Alice+x@example.org", "sales@example.org", "team+y@example.org", "postmaster@example.org", "bob@example.org",
		"any@catch.example", "eve@catch.example", "alice@example.net", "nobody@example.org", "", "not an address"}
	for _, row := range []struct {
		name    string
		account uint64
		want    []bool
	}{
		{"alice", alice, []bool{true, true, true, true, false, false, false, false, false, false, false, false}},
		{"bob", bob, []bool{false, false, false, false, true, true, true, false, false, false, false, false}},
		{"nobody", 12345, make([]bool, 12)},
	} {
		resp, err := f.Owns(t.Context(), &directoryv1.OwnsRequest{Account: row.account, Addresses: addresses})
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range resp.Owns {
			if got != row.want[i] {
				t.Errorf("%s owns %q: got %v, want %v", row.name, addresses[i], got, row.want[i])
			}
		}
	}
}

func TestConfigTellsAllFaults(t *testing.T) {
	cfg := directory.Config{RecipientDelimiter: "@", PasswordMinLength: -1, SCRAMIterations: 1, CacheCheck: -1,
		Slow: directory.SlowConfig{Delay: time.Minute, MaxDelay: time.Second}}
	cfg.Defaults()
	err := cfg.Validate()
	if err == nil {
		t.Fatal("got no fault")
	}
	for _, key := range []string{"recipient_delimiter", "password_min_length", "scram_iterations", "cache_check", "slow.max_delay"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not among the faults: %v", key, err)
		}
	}
	good := directory.Config{}
	good.Defaults()
	if err := good.Validate(); err != nil {
		t.Errorf("the defaults have faults: %v", err)
	}
}
