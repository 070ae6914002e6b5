package directory_test

import (
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// TestIdentify: who accounts are, by address and by id, and which groups there are.
func TestIdentify(t *testing.T) {
	f := serve(t, cheap, openStore(t))
	ctx := t.Context()
	step := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	step(f.AddDomain(ctx, &directoryv1.AddDomainRequest{Domain: &directoryv1.Domain{Name: "example.org", CatchAll: "alice@example.org"}}))
	alice, err := f.AddAccount(ctx, &directoryv1.AddAccountRequest{Address: "alice@example.org", Password: "correct horse"})
	step(alice, err)
	sales, err := f.AddAccount(ctx, &directoryv1.AddAccountRequest{Address: "sales@example.org", Shared: true})
	step(sales, err)
	step(f.AddToGroup(ctx, &directoryv1.AddToGroupRequest{Name: "Staff", Members: []string{"Alice@Example.ORG"}}))
	for _, bad := range []*directoryv1.AddToGroupRequest{
		{Name: ""}, {Name: "two words"}, {Name: "a/b"}, {Name: "ok", Members: []string{"nobody"}},
	} {
		if _, err := f.AddToGroup(ctx, bad); status.Code(err) != codes.InvalidArgument {
			t.Errorf("AddToGroup(%v) = %v, want INVALID_ARGUMENT", bad, err)
		}
	}
	if _, err := f.AddToGroup(ctx, &directoryv1.AddToGroupRequest{Name: "ok", Members: []string{"nobody@example.org"}}); status.Code(err) != codes.NotFound {
		t.Errorf("adding nobody to a group = %v, want NOT_FOUND", err)
	}
	r, err := f.Identify(ctx, &directoryv1.IdentifyRequest{
		// An address that only the catch-all takes, and one with a detail, are nobody.
		Addresses: []string{"ALICE@example.org", "nobody@example.org", "alice+x@example.org", "what"},
		Accounts:  []uint64{sales.Account.Id, 5}, Groups: []string{"STAFF", "board", "*"},
	})
	step(r, err)
	if a := r.ByAddress; a[0].Account != alice.Account.Id || a[0].Address != "alice@example.org" || !slices.Equal(a[0].Groups, []string{"staff"}) || a[0].Shared {
		t.Errorf("alice is %v", a[0])
	}
	for i, a := range r.ByAddress[1:] {
		if a.Account != 0 {
			t.Errorf("address %d is %v, want nobody", i+1, a)
		}
	}
	if a := r.ByAccount; a[0].Address != "sales@example.org" || !a[0].Shared || a[1].Account != 0 {
		t.Errorf("by account: %v, want the shared account and nobody", a)
	}
	if !slices.Equal(r.Groups, []string{"staff", "", ""}) {
		t.Errorf("groups %q, want staff alone", r.Groups)
	}
	// Nobody knows the password of a shared account that was made without one.
	if _, err := f.Login(ctx, &directoryv1.LoginRequest{User: "sales@example.org", Password: "", Client: "192.0.2.1", Service: "imap"}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("login to a shared account = %v, want UNAUTHENTICATED", err)
	}
	step(f.SetShared(ctx, &directoryv1.SetSharedRequest{Address: "sales@example.org"}))
	step(f.RemoveFromGroup(ctx, &directoryv1.RemoveFromGroupRequest{Name: "staff"}))
	if r, err = f.Identify(ctx, &directoryv1.IdentifyRequest{Accounts: []uint64{alice.Account.Id, sales.Account.Id}}); err != nil || len(r.ByAccount[0].Groups) != 0 || r.ByAccount[1].Shared {
		t.Errorf("afterwards %v, %v; want no groups and nothing shared", r, err)
	}
}
