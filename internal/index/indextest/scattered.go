package indextest

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// scattered names messages here and there, so far apart that what lies between is not read: flags, copies and what is
// expunged must be those all the same, also where the named ones are gone.
func scattered(t *testing.T, s Subject) {
	ctx := t.Context()
	const n = 6000
	var list []index.Message
	for range n {
		list = append(list, newMessage(300))
	}
	box := s.append(t, 7, "INBOX", list...).Mailbox
	left := map[mailbox.UID]bool{}
	for uid := mailbox.UID(1); uid <= n; uid++ {
		left[uid] = true
	}
	for _, apart := range []mailbox.UID{1500, 1025, 300, 2} {
		var set, want mailbox.UIDSet
		for uid := mailbox.UID(1); uid < n+3000; uid += apart {
			set = set.Append(uid, uid+apart/3)
			for u := uid; u <= uid+apart/3; u++ {
				if left[u] {
					want = want.Add(u)
				}
			}
		}
		if _, err := s.Mailboxes.Flag(ctx, index.FlagChange{Account: 7, Mailbox: box, UIDs: set, Mode: index.ReplaceFlags, Flags: []string{`\Deleted`}}); err != nil {
			t.Fatal(err)
		}
		if m := s.find(t, 7, "INBOX"); uint64(m.Deleted) != want.Len() {
			t.Errorf("%d apart: %d flagged, want %d", apart, m.Deleted, want.Len())
		}
		c, err := s.Mailboxes.Copy(ctx, 7, box, set, "Archive")
		if err != nil || !reflect.DeepEqual(c.Source, want) || c.Copies.Len() != want.Len() {
			t.Errorf("%d apart: copied %v, want %v; %v", apart, c.Source, want, err)
		}
		r, err := s.Mailboxes.Expunge(ctx, 7, box, set, false)
		if err != nil || !reflect.DeepEqual(r.Expunged, want) {
			t.Errorf("%d apart: expunged %v, want %v; %v", apart, r.Expunged, want, err)
		}
		for uid := range want.All() {
			delete(left, uid)
		}
		uids := s.look(t, 7, box).uids()
		for _, uid := range uids {
			if !left[uid] {
				t.Fatalf("%d apart: UID %d is there", apart, uid)
			}
		}
		if len(uids) != len(left) {
			t.Fatalf("%d apart: %d are there, want %d", apart, len(uids), len(left))
		}
	}
}

// expungeDeleted shows that all goes that carries \Deleted and nothing else, whatever the caller thinks that is, and that who knew
// the mailbox before knows it behind.
func expungeDeleted(t *testing.T, s Subject) {
	ctx := t.Context()
	var list []index.Message
	for range 1500 {
		list = append(list, newMessage(300))
	}
	box := s.append(t, 7, "INBOX", list...).Mailbox
	knew := s.find(t, 7, "INBOX").HighestModSeq
	for at, tt := range []struct {
		name            string
		deleted, likely mailbox.UIDSet
	}{
		{"nobody has a thought", mailbox.UIDSet{{First: 3, Last: 5}, {First: 700, Last: 700}}, nil},
		{"all that there are", mailbox.UIDSet{{First: 10, Last: 12}, {First: 900, Last: 905}}, mailbox.UIDSet{{First: 10, Last: 12}, {First: 900, Last: 905}}},
		{"one of each chunk", mailbox.UIDSet{{First: 20, Last: 30}}, mailbox.UIDSet{{First: 25, Last: 25}}},
		{"some", mailbox.UIDSet{{First: 40, Last: 41}, {First: 1100, Last: 1101}}, mailbox.UIDSet{{First: 40, Last: 41}}},
		{"others", mailbox.UIDSet{{First: 50, Last: 51}, {First: 1150, Last: 1150}}, mailbox.UIDSet{{First: 100, Last: 102}}},
		{"more", mailbox.UIDSet{{First: 60, Last: 60}}, mailbox.UIDSet{{First: 60, Last: 300}}},
		{"what is not there", mailbox.UIDSet{{First: 70, Last: 70}}, mailbox.UIDSet{{First: 5000, Last: 5000}}},
		{"none is", nil, mailbox.UIDSet{{First: 71, Last: 71}}},
	} {
		if len(tt.deleted) > 0 {
			f, err := s.Mailboxes.Flag(ctx, index.FlagChange{Account: 7, Mailbox: box, UIDs: tt.deleted, Mode: index.AddFlags, Flags: []string{`\Deleted`}})
			if err != nil {
				t.Fatal(err)
			}
			knew = f.ModSeq
		}
		before := s.look(t, 7, box).uids()
		r, err := s.Mailboxes.ExpungeDeleted(ctx, 7, box, tt.likely)
		if err != nil || r.Expunged.Len() != tt.deleted.Len() || len(r.Expunged) > 0 && !reflect.DeepEqual(r.Expunged, tt.deleted) {
			t.Fatalf("%s (%d): expunged %v, want %v; %v", tt.name, at, r.Expunged, tt.deleted, err)
		}
		m := s.find(t, 7, "INBOX")
		if r.Before != knew || r.After != m.HighestModSeq || m.Deleted != 0 {
			t.Errorf("%s: from %d to %d, want %d to %d; %d are left", tt.name, r.Before, r.After, knew, m.HighestModSeq, m.Deleted)
		}
		knew = m.HighestModSeq
		left := slices.DeleteFunc(before, tt.deleted.Contains)
		if got := s.look(t, 7, box).uids(); !slices.Equal(got, left) {
			t.Errorf("%s: %d are there, want %d", tt.name, len(got), len(left))
		}
	}
	if _, err := s.Mailboxes.ExpungeDeleted(ctx, 7, nowhere, nil); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("got %v, want ErrNoMailbox", err)
	}
}
