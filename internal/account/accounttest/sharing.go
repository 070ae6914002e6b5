package accounttest

import (
	"reflect"
	"testing"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func testSharing(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := t.Context()
	domain(t, s, "example.org")
	for i, address := range []string{"alice@example.org", "bob@example.org", "sales@example.org"} {
		if _, err := s.PutAccounts(ctx, []account.Change{change(account.Add, uint64(i+1), address, "x")}); err != nil {
			t.Fatal(err)
		}
	}
	step := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	before, _ := s.Version(ctx)
	step("AddToGroup(staff)", s.AddToGroup(ctx, "staff", []string{"bob@example.org", "alice@example.org"}))
	step("AddToGroup again", s.AddToGroup(ctx, "staff", []string{"bob@example.org"}))
	step("AddToGroup(empty)", s.AddToGroup(ctx, "empty", nil))
	step("AddToGroup(board)", s.AddToGroup(ctx, "board", []string{"alice@example.org"}))
	if after, _ := s.Version(ctx); after <= before {
		t.Errorf("Version = %d after changes of groups, was %d: caches would not hear of them", after, before)
	}
	wantErr(t, "adding nobody", s.AddToGroup(ctx, "ghosts", []string{"carol@example.org"}), account.ErrNotFound)
	wantErr(t, "removing a group that is not there", s.RemoveFromGroup(ctx, "ghosts", nil), account.ErrNotFound)
	step("SetShared", s.SetShared(ctx, "sales@example.org", true))
	wantErr(t, "sharing nobody", s.SetShared(ctx, "carol@example.org", true), account.ErrNotFound)

	groups, err := s.ListGroups(ctx)
	step("ListGroups", err)
	want := []account.Group{
		{Name: "board", Members: []string{"alice@example.org"}}, {Name: "empty"},
		{Name: "staff", Members: []string{"alice@example.org", "bob@example.org"}},
	}
	if !reflect.DeepEqual(groups, want) {
		t.Errorf("ListGroups = %v, want %v", groups, want)
	}
	ids, err := s.Identities(ctx, []mailbox.AccountID{3, 99, 1})
	step("Identities", err)
	if want := []account.Identity{
		{Account: 3, Address: "sales@example.org", Shared: true}, {}, {Account: 1, Address: "alice@example.org", Groups: []string{"board", "staff"}},
	}; !reflect.DeepEqual(ids, want) {
		t.Errorf("Identities = %v, want %v", ids, want)
	}

	step("RemoveFromGroup(staff, alice)", s.RemoveFromGroup(ctx, "staff", []string{"alice@example.org"}))
	step("RemoveFromGroup(board)", s.RemoveFromGroup(ctx, "board", nil))
	step("SetShared(false)", s.SetShared(ctx, "sales@example.org", false))
	if has, err := s.HasGroup(ctx, "board"); has || err != nil {
		t.Errorf("HasGroup(board) = %v, %v after it was removed", has, err)
	}
	if has, err := s.HasGroup(ctx, "staff"); !has || err != nil {
		t.Errorf("HasGroup(staff) = %v, %v", has, err)
	}
	ids, err = s.Identities(ctx, []mailbox.AccountID{1, 2, 3})
	step("Identities", err)
	if len(ids[0].Groups) != 0 || len(ids[1].Groups) != 1 || ids[2].Shared {
		t.Errorf("Identities = %v, want staff with bob alone, and nothing shared", ids)
	}
	// A group is of accounts, not of addresses: who gets an address anew inherits nothing.
	step("RemoveAccount", s.RemoveAccount(ctx, "bob@example.org", created))
	if _, err := s.PutAccounts(ctx, []account.Change{change(account.Add, 7, "bob@example.org", "x")}); err != nil {
		t.Fatal(err)
	}
	ids, err = s.Identities(ctx, []mailbox.AccountID{7})
	step("Identities", err)
	if len(ids[0].Groups) != 0 {
		t.Errorf("a new bob is in %q", ids[0].Groups)
	}
}
