package directory_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/credential"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// TestErrorsSayWhatToDo looks at codes, and at words that an operator needs.
func TestErrorsSayWhatToDo(t *testing.T) {
	f := start(t)
	f.domain(t, "other.example")
	f.account(t, "alice@example.org", "correct horse")
	f.alias(t, "sales@example.org", "alice@example.org")
	ctx := t.Context()
	add := func(address, password string) error {
		_, err := f.AddAccount(ctx, &directoryv1.AddAccountRequest{Address: address, Password: password})
		return err
	}
	alias := func(address string, targets ...string) error {
		_, err := f.SetAlias(ctx, &directoryv1.SetAliasRequest{Alias: &directoryv1.Alias{Address: address, Targets: targets}})
		return err
	}
	domain := func(name string) error {
		_, err := f.AddDomain(ctx, &directoryv1.AddDomainRequest{Domain: &directoryv1.Domain{Name: name}})
		return err
	}
	removeDomain := func(name string) error {
		_, err := f.RemoveDomain(ctx, &directoryv1.RemoveDomainRequest{Name: name})
		return err
	}
	passwd := func(address, password string) error {
		_, err := f.SetPassword(ctx, &directoryv1.SetPasswordRequest{Address: address, Password: password})
		return err
	}
	removeAccount := func(address string) error {
		_, err := f.RemoveAccount(ctx, &directoryv1.RemoveAccountRequest{Address: address})
		return err
	}
	removeAlias := func(address string) error {
		_, err := f.RemoveAlias(ctx, &directoryv1.RemoveAliasRequest{Address: address})
		return err
	}
	for _, row := range []struct {
		name string
		err  error
		code codes.Code
		says string
	}{
		{"account twice", add("ALICE@example.org", "correct horse"), codes.AlreadyExists, "account passwd alice@example.org"},
		{"account at alias", add("sales@example.org", "correct horse"), codes.AlreadyExists, "alias remove sales@example.org"},
		{"account elsewhere", add("bob@example.net", "correct horse"), codes.FailedPrecondition, "domain add example.net"},
		{"account no address", add("bob", "correct horse"), codes.InvalidArgument, "no @"},
		{"account literal", add("bob@[192.0.2.1]", "correct horse"), codes.InvalidArgument, "literal"},
		{"account role", add("PostMaster@example.org", "correct horse"), codes.InvalidArgument, "alias set postmaster@example.org"},
		{"account long", add(strings.Repeat("x", 65)+"@example.org", "correct horse"), codes.InvalidArgument, "64"},
		{"short password", add("bob@example.org", "short"), codes.InvalidArgument, "at least 8"},
		{"long password", add("bob@example.org", strings.Repeat("x", 1025)), codes.InvalidArgument, "1024"},
		{"password with NUL", add("bob@example.org", "correct\x00horse"), codes.InvalidArgument, "NUL"},
		{"passwd nobody", passwd("bob@example.org", "correct horse"), codes.NotFound, "account add bob@example.org"},
		{"passwd short", passwd("alice@example.org", "x"), codes.InvalidArgument, "at least 8"},
		{"remove nobody", removeAccount("bob@example.org"), codes.NotFound, "no account bob@example.org"},
		{"domain twice", domain("Example.ORG"), codes.AlreadyExists, "example.org"},
		{"domain odd", domain("ex ample"), codes.InvalidArgument, "character"},
		{"domain literal", domain("[192.0.2.1]"), codes.InvalidArgument, "literal"},
		{"domain in use", removeDomain("example.org"), codes.FailedPrecondition, "still has accounts"},
		{"domain unknown", removeDomain("example.net"), codes.NotFound, "example.net"},
		{"alias at account", alias("alice@example.org", "x@example.net"), codes.AlreadyExists, "is an account"},
		{"alias elsewhere", alias("a@example.net", "x@example.net"), codes.FailedPrecondition, "domain add example.net"},
		{"alias without target", alias("a@example.org"), codes.InvalidArgument, "targets"},
		{"alias of itself", alias("a@example.org", "A@Example.org"), codes.InvalidArgument, "own target"},
		{"alias bare target", alias("a@example.org", "alice"), codes.InvalidArgument, "whole addresses"},
		{"alias odd", alias("a b", "alice@example.org"), codes.InvalidArgument, "alias"},
		{"alias unknown", removeAlias("a@example.org"), codes.NotFound, "no alias a@example.org"},
		{"catch-all to two", alias("@example.org", "a@example.org", "b@example.org"), codes.InvalidArgument, "one target"},
		{"catch-all elsewhere", alias("@example.net", "a@example.org"), codes.FailedPrecondition, "domain add example.net"},
		{"domain free", removeDomain("other.example"), codes.OK, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := status.Code(row.err); got != row.code {
				t.Fatalf("got %v (%v), want %v", got, row.err, row.code)
			}
			if row.err != nil && !strings.Contains(status.Convert(row.err).Message(), row.says) {
				t.Errorf("%q does not say %q", status.Convert(row.err).Message(), row.says)
			}
		})
	}
}

func TestLists(t *testing.T) {
	f := start(t)
	f.domain(t, "b.example")
	f.account(t, "bob@example.org", "correct horse")
	f.account(t, "alice@example.org", "correct horse")
	f.account(t, "carol@b.example", "correct horse")
	f.alias(t, "postmaster", "alice@example.org")
	f.alias(t, "sales@b.example", "alice@example.org")
	f.alias(t, "@b.example", "carol@b.example")
	accounts := func(domain string) (out []string) {
		resp, err := f.ListAccounts(t.Context(), &directoryv1.ListAccountsRequest{Domain: domain})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range resp.Accounts {
			if a.Id == 0 || a.CreatedNs == 0 {
				t.Errorf("%s has no id or time: %v", a.Address, a)
			}
			out = append(out, a.Address)
		}
		return out
	}
	aliases := func(domain string) (out []string) {
		resp, err := f.ListAliases(t.Context(), &directoryv1.ListAliasesRequest{Domain: domain})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range resp.Aliases {
			out = append(out, a.Address)
		}
		return out
	}
	if got, want := accounts(""), []string{"alice@example.org", "bob@example.org", "carol@b.example"}; !slices.Equal(got, want) {
		t.Errorf("all accounts: got %q, want %q", got, want)
	}
	if got, want := accounts("B.example"), []string{"carol@b.example"}; !slices.Equal(got, want) {
		t.Errorf("accounts of b.example: got %q, want %q", got, want)
	}
	if got, want := aliases(""), []string{"@b.example", "postmaster", "sales@b.example"}; !slices.Equal(got, want) {
		t.Errorf("all aliases: got %q, want %q", got, want)
	}
	if got, want := aliases("b.example"), []string{"@b.example", "sales@b.example"}; !slices.Equal(got, want) {
		t.Errorf("aliases of b.example: got %q, want %q", got, want)
	}
	resp, err := f.ListDomains(t.Context(), &directoryv1.ListDomainsRequest{})
	if err != nil || len(resp.Domains) != 2 || resp.Domains[0].Name != "example.org" || resp.Domains[1].CatchAll != "carol@b.example" {
		t.Errorf("ListDomains = %v, %v; want example.org first, and b.example with its catch-all", resp, err)
	}
}

func (f *farm) importAll(t testing.TB, lines [][2]string) *directoryv1.ImportAccountsResponse {
	t.Helper()
	stream, err := f.ImportAccounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if err := stream.Send(&directoryv1.ImportAccountsRequest{Address: l[0], Secret: l[1]}); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestImport(t *testing.T) {
	f := start(t)
	f.account(t, "alice@example.org", "old password")
	f.alias(t, "sales@example.org", "alice@example.org")
	hash := credential.NewArgon2id("hashed password").String()
	lines := [][2]string{
		{"alice@example.org", "new password"}, // 1: updated
		{"bob@example.org", hash},             // 2: added
		{"", ""},                              // 3: an empty line
		{"no address", "some password"},       // 4
		{"carol@example.net", "some password"},
		{"dave@example.org", "short"},
		{"erin@example.org", "{PLAIN}some password"},
		{"sales@example.org", "some password"},
		{"postmaster@example.org", "some password"},
		{"frank@example.org", "{SCRAM-SHA-256}1,x,y,z"},
		{"bob@example.org", "bob's own password"},            // 11: updated, behind its own adding
		{strings.Repeat("ä", 200) + "\x01", "some password"}, // 12
	}
	for i := range 1000 { // more than a batch
		lines = append(lines, [2]string{fmt.Sprintf("u%d@example.org", i), "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="})
	}
	lines = append(lines, [2]string{"last@example.net", "some password"})
	resp := f.importAll(t, lines)
	if resp.Added != 1001 || resp.Updated != 2 {
		t.Errorf("added %d, updated %d; want 1001 and 2", resp.Added, resp.Updated)
	}
	wantFaults := map[uint32]string{4: "not an address", 5: "domain add example.net", 6: "at least 8", 7: "unknown scheme", 8: "is an alias", 9: "role address",
		10: "iterations", 12: "not an address", 1013: "domain add example.net"}
	for _, fault := range resp.Faults {
		want, ok := wantFaults[fault.Line]
		if !ok || !strings.Contains(fault.Problem, want) {
			t.Errorf("line %d (%s): got %q, want %q", fault.Line, fault.Address, fault.Problem, want)
		}
		delete(wantFaults, fault.Line)
		if strings.Contains(fault.Problem, "password\"") {
			t.Errorf("line %d: the fault quotes a password: %q", fault.Line, fault.Problem)
		}
	}
	if len(wantFaults) > 0 {
		t.Errorf("not told: %v", wantFaults)
	}
	for user, password := range map[string]string{"alice@example.org": "new password", "bob@example.org": "bob's own password", "u999@example.org": "pencil"} {
		if _, err := f.Login(t.Context(), &directoryv1.LoginRequest{User: user, Password: password}); err != nil {
			t.Errorf("login of %s: %v", user, err)
		}
	}
}

func TestImportOfSomethingElse(t *testing.T) {
	f := start(t)
	stream, err := f.ImportAccounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 20_000 {
		if err := stream.Send(&directoryv1.ImportAccountsRequest{Address: "PK\x03\x04", Secret: "x"}); err != nil {
			break // the server gave up, as it should
		}
	}
	_, err = stream.CloseAndRecv()
	wantCode(t, "20,000 lines of noise", err, codes.InvalidArgument)
}
