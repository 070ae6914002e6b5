package store

import (
	"context"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// namesakes are the mailboxes of an account that has Work and Team, of which Team is shared, and had others of these names.
type namesakes struct {
	index.Mailboxes
	index.Sharing
	index.Retention
}

func (namesakes) List(context.Context, mailbox.AccountID) ([]index.Mailbox, mailbox.ModSeq, error) {
	return []index.Mailbox{{ID: 1, Name: "Work"}, {ID: 2, Name: "Team"}}, 9, nil
}

func (namesakes) Grantees(context.Context, mailbox.AccountID) ([]index.Grant, error) {
	return []index.Grant{{Mailbox: 0, Identifier: "user:8"}, {Mailbox: 2, Identifier: "user:9"}}, nil
}

func (namesakes) RemovedMailboxes(context.Context, mailbox.AccountID) ([]index.RemovedMailbox, error) {
	return []index.RemovedMailbox{{Mailbox: index.Mailbox{ID: 3, Name: "Work"}}, {Mailbox: index.Mailbox{ID: 4, Name: "Team"}}}, nil
}

// TestRestoreApart: what was in a folder that was deleted does not go into another one of its name that others read.
func TestRestoreApart(t *testing.T) {
	n := namesakes{}
	w := &restoring{r: &retention{Service: &Service{deps: Deps{Mailboxes: n, Sharing: n}}, Retention: n}, account: 7, boxes: map[mailbox.ID]*index.Restore{}}
	if err := w.readBoxes(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		box        mailbox.ID
		name, want string
	}{
		{1, "Work", "Work"}, {2, "Old", "Team"}, {3, "Work", "Work"}, {4, "Team", "Restored/Team"}, {5, "Team", "Restored/Team"},
	} {
		row := &index.RemovedRow{RowID: index.RowID{Mailbox: tt.box}, Name: tt.name}
		if got := w.target(row); got.Target != tt.want || got.Account != 7 {
			t.Errorf("of mailbox %d, %s: %+v, want %s", tt.box, tt.name, got, tt.want)
		}
	}
}
