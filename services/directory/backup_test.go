package directory

import (
	"context"
	"testing"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// overtaken is a store in which somebody makes an account between our look and our write.
type overtaken struct {
	account.Store
	made  account.Account
	there bool
}

func (o *overtaken) Accounts(_ context.Context, ids []mailbox.AccountID) ([]*account.Account, error) {
	if o.there && o.made.ID == ids[0] {
		return []*account.Account{&o.made}, nil
	}
	return []*account.Account{nil}, nil
}

func (o *overtaken) RemovedAccounts(context.Context) ([]account.Removed, error) { return nil, nil }

func (o *overtaken) PutAccounts(context.Context, []account.Change) ([]account.Outcome, error) {
	o.there = true
	return []account.Outcome{{Account: o.made, Err: account.ErrExists}}, nil
}

// TestLoadOvertaken: an account that another restore made meanwhile is no conflict, but another of its address is.
func TestLoadOvertaken(t *testing.T) {
	for _, tt := range []struct {
		made     mailbox.AccountID
		conflict bool
	}{{7, false}, {8, true}} {
		b := &backups{s: &Service{store: &overtaken{made: account.Account{ID: tt.made, Address: "alice@example.org"}}}}
		o, err := b.loadAccount(t.Context(), &directoryv1.StoredAccount{Id: 7, Address: "alice@example.org"})
		if err != nil || o.GetAdded() || (o.GetConflict() != "") != tt.conflict {
			t.Errorf("made as %d: %v, %v; conflict %v", tt.made, o, err, tt.conflict)
		}
	}
}
