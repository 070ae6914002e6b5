package indextest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// grant writes one entry of a list.
func (s *Subject) grant(t tester, account mailbox.AccountID, box mailbox.ID, identifier, rights string) {
	t.Helper()
	r, err := acl.Parse(rights)
	if err == nil {
		_, err = s.Sharing.SetACL(t.Context(), index.ACLChange{Account: account, Mailbox: box, Identifier: identifier, Mode: index.ReplaceRights, Rights: r})
	}
	if err != nil {
		t.Fatalf("SetACL(%s, %s): %v", identifier, rights, err)
	}
}

// rights is what somebody has in a mailbox, asked for in each way there is.
func (s *Subject) rights(t tester, account mailbox.AccountID, box index.Mailbox, identifiers ...string) string {
	t.Helper()
	var out []string
	for _, q := range []index.AccessQuery{{Box: box.ID}, {Names: []string{box.Name, "nowhere"}}, {}} {
		q.Account, q.Identifiers = account, identifiers
		a, err := s.Sharing.Access(t.Context(), q)
		if err != nil {
			t.Fatalf("Access: %v", err)
		}
		if q.Names != nil && (len(a.Named) != 1 || a.Named[box.Name] != box.ID) {
			t.Fatalf("Access found %v for %q and a name that is none", a.Named, box.Name)
		}
		out = append(out, a.Rights(box.ID).String())
	}
	if out[0] != out[1] || out[1] != out[2] {
		t.Fatalf("Access says %q by id, by name and for all", out)
	}
	return out[0]
}

func accessLists(t *testing.T, s Subject) {
	const owner, other = 77, 78
	box, sent := s.find(t, owner, index.Inbox), s.find(t, owner, "Sent")
	bob, carol := acl.User(1), acl.User(2)
	s.grant(t, owner, box.ID, bob, "lrs")
	s.grant(t, owner, box.ID, acl.Group("staff"), "lrwi")
	s.grant(t, owner, box.ID, acl.Negative(carol), "w")
	s.grant(t, owner, 0, carol, "lra")
	for _, tt := range []struct {
		box  index.Mailbox
		who  []string
		want string
	}{
		{box, acl.Of(1, nil), "lrs"},
		{box, acl.Of(1, []string{"staff"}), "lrswi"},
		{box, acl.Of(2, []string{"staff"}), "lria"}, // w is taken away
		{sent, acl.Of(2, nil), "lra"},
		{sent, acl.Of(1, nil), ""},
		{box, acl.Of(3, nil), ""},
	} {
		if got := s.rights(t, owner, tt.box, tt.who...); got != tt.want {
			t.Errorf("%s for %q: rights %q, want %q", tt.box.Name, tt.who[:1], got, tt.want)
		}
	}
	if got := s.rights(t, other, s.find(t, other, index.Inbox), acl.Of(1, nil)...); got != "" {
		t.Errorf("rights %q in another account", got)
	}
	list, err := s.Sharing.ACL(t.Context(), owner, box.ID)
	want := []index.Grant{
		{Mailbox: box.ID, Identifier: acl.Negative(carol), Rights: acl.Write},
		{Mailbox: box.ID, Identifier: acl.Group("staff"), Rights: acl.Lookup | acl.Read | acl.Write | acl.Insert},
		{Mailbox: box.ID, Identifier: bob, Rights: acl.Lookup | acl.Read | acl.Seen},
	}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("ACL = %v, %v; want %v", list, err, want)
	}
	if all, err := s.Sharing.Grantees(t.Context(), owner); err != nil || len(all) != 4 || all[0].Mailbox != 0 {
		t.Errorf("Grantees = %v, %v; want four, the account's first", all, err)
	}
	change := func(mode index.ACLMode, r acl.Rights) {
		t.Helper()
		if _, err := s.Sharing.SetACL(t.Context(), index.ACLChange{Account: owner, Mailbox: box.ID, Identifier: bob, Mode: mode, Rights: r}); err != nil {
			t.Fatal(err)
		}
	}
	change(index.AddRights, acl.Insert|acl.Seen)
	if got := s.rights(t, owner, box, bob); got != "lrsi" {
		t.Errorf("rights %q after i was added", got)
	}
	change(index.RemoveRights, acl.Read|acl.Admin)
	if got := s.rights(t, owner, box, bob); got != "lsi" {
		t.Errorf("rights %q after r was removed", got)
	}
	change(index.RemoveRights, acl.All)
	if list, _ = s.Sharing.ACL(t.Context(), owner, box.ID); len(list) != 2 {
		t.Errorf("ACL = %v; want no entry without rights", list)
	}
	_, err = s.Sharing.SetACL(t.Context(), index.ACLChange{Account: owner, Mailbox: nowhere, Identifier: bob, Mode: index.ReplaceRights, Rights: acl.Read})
	if !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("SetACL of no mailbox = %v, want ErrNoMailbox", err)
	}
	for i := range index.MaxACL - 2 {
		s.grant(t, owner, box.ID, acl.Group(fmt.Sprint(i)), "l")
	}
	_, err = s.Sharing.SetACL(t.Context(), index.ACLChange{Account: owner, Mailbox: box.ID, Identifier: bob, Mode: index.ReplaceRights, Rights: acl.Read})
	if !errors.Is(err, index.ErrACL) {
		t.Errorf("SetACL of a full list = %v, want ErrACL", err)
	}
	s.grant(t, owner, box.ID, acl.Group("7"), "lr") // one that is there still changes
}

// accessHints: a hint is there as long as any list of the account gives something.
func accessHints(t *testing.T, s Subject) {
	bob := acl.User(1001) // nobody else's in what tests share
	owners := func(after mailbox.AccountID, limit int) []mailbox.AccountID {
		t.Helper()
		list, err := s.Sharing.Owners(t.Context(), []string{bob, acl.Group("hints")}, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	want := func(what string, got []mailbox.AccountID, want ...mailbox.AccountID) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: owners %v, want %v", what, got, want)
		}
	}
	for _, owner := range []mailbox.AccountID{12, 11, 13} {
		s.grant(t, owner, s.find(t, owner, "Sent").ID, bob, "lr")
	}
	sent, junk := s.find(t, 11, "Sent"), s.find(t, 11, "Junk")
	s.grant(t, 11, junk.ID, bob, "lr")
	s.grant(t, 11, junk.ID, acl.Group("hints"), "lr")
	s.grant(t, 14, 0, acl.User(9), "lr")
	want("all", owners(0, 10), 11, 12, 13)
	want("two", owners(0, 2), 11, 12)
	want("the rest", owners(12, 10), 13)
	s.grant(t, 11, junk.ID, acl.Group("hints"), "")
	s.grant(t, 11, sent.ID, bob, "")
	want("one of two lists", owners(0, 1), 11)
	if _, err := s.Mailboxes.Delete(t.Context(), 11, "Junk"); err != nil {
		t.Fatal(err)
	}
	want("after the mailbox is gone", owners(0, 10), 12, 13)
	s.grant(t, 12, s.find(t, 12, "Sent").ID, bob, "")
	want("after the last entry is gone", owners(0, 10), 13)
}

// accessInherited: a mailbox begins with the list of the one above.
func accessInherited(t *testing.T, s Subject) {
	const owner = 21
	bob := acl.User(1)
	if _, _, err := s.Mailboxes.Create(t.Context(), owner, "Team", ""); err != nil {
		t.Fatal(err)
	}
	s.grant(t, owner, s.find(t, owner, "Team").ID, bob, "lrk")
	for _, name := range []string{"Team/a/b", "Other/c"} {
		if _, _, err := s.Mailboxes.Create(t.Context(), owner, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"Team/a": "lrk", "Team/a/b": "lrk", "Other": "", "Other/c": ""} {
		if got := s.rights(t, owner, s.find(t, owner, name), bob); got != want {
			t.Errorf("%s: rights %q, want %q", name, got, want)
		}
	}
	// From then on they are apart; a mailbox made again under a name does not have what the old one had.
	s.grant(t, owner, s.find(t, owner, "Team").ID, bob, "")
	if got := s.rights(t, owner, s.find(t, owner, "Team/a"), bob); got != "lrk" {
		t.Errorf("rights %q below after the list above was emptied", got)
	}
	if _, err := s.Mailboxes.Delete(t.Context(), owner, "Team/a/b"); err != nil {
		t.Fatal(err)
	}
	s.grant(t, owner, s.find(t, owner, "Team/a").ID, bob, "")
	if _, _, err := s.Mailboxes.Create(t.Context(), owner, "Team/a/b", ""); err != nil {
		t.Fatal(err)
	}
	if got := s.rights(t, owner, s.find(t, owner, "Team/a/b"), bob); got != "" {
		t.Errorf("rights %q in a mailbox that was made anew", got)
	}
}
