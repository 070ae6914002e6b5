package indextest

import (
	"reflect"
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
