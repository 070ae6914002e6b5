package accounttest

import (
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/account"
)

func testRemovedAccounts(t *testing.T, b Backend) {
	s := b.New(t)
	ctx := t.Context()
	domain(t, s, "example.org")
	put(t, s, change(account.Add, 2, "alice@example.org", "s2"), change(account.Add, 3, "bob@example.org", "s3"))
	for i, address := range []string{"alice@example.org", "bob@example.org"} {
		if err := s.RemoveAccount(ctx, address, removed.Add(time.Duration(i))); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.RemovedAccounts(ctx)
	if err != nil || len(list) != 2 || list[0].ID != 2 || list[1].Address != "bob@example.org" || !list[0].Removed.Equal(removed) || !list[0].Created.Equal(created) {
		t.Fatalf("RemovedAccounts: %+v, %v", list, err)
	}
	wantErr(t, "forgetting what was removed at another time", s.ForgetAccount(ctx, 3, removed), account.ErrKnown)
	wantErr(t, "forgetting nobody", s.ForgetAccount(ctx, 99, removed), account.ErrNotFound)
	put(t, s, change(account.Add, 4, "alice@example.org", "s4"))
	wantErr(t, "an address that is taken", s.RestoreAccount(ctx, 2, "alice@example.org"), account.ErrExists)
	wantErr(t, "a domain that is not ours", s.RestoreAccount(ctx, 2, "alice@example.net"), account.ErrNoDomain)
	wantErr(t, "nobody", s.RestoreAccount(ctx, 99, "zoe@example.org"), account.ErrNotFound)
	version, err := s.Version(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RestoreAccount(ctx, 2, "alice2@example.org"); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "restoring twice", s.RestoreAccount(ctx, 2, "alice3@example.org"), account.ErrNotFound)
	back := lookup(t, s, account.AddressKey(account.Address{Local: "alice2", Domain: "example.org"}))[0].Account
	if back == nil || back.ID != 2 || back.Credential != "s2" || !back.Created.Equal(created) || back.Version <= version {
		t.Errorf("restored: %+v", back)
	}
	wantErr(t, "forgetting what was brought back", s.ForgetAccount(ctx, 2, removed), account.ErrKnown)
	if err := s.ForgetAccount(ctx, 3, removed.Add(1)); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "forgetting twice", s.ForgetAccount(ctx, 3, removed.Add(1)), account.ErrNotFound)
	if list, err := s.RemovedAccounts(ctx); err != nil || len(list) != 0 {
		t.Errorf("RemovedAccounts: %+v, %v", list, err)
	}
}
