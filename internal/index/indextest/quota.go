package indextest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func (s *Subject) roots(t *testing.T, name string) []index.QuotaRoot {
	t.Helper()
	roots, err := s.Quotas.Quota(t.Context(), 7, name)
	if err != nil {
		t.Fatalf("Quota: %v", err)
	}
	return roots
}

func (s *Subject) setQuota(t *testing.T, name string, size, messages int64) {
	t.Helper()
	if err := s.Quotas.SetQuota(t.Context(), 7, name, index.Limits{Size: size, Messages: messages}); err != nil {
		t.Fatalf("SetQuota: %v", err)
	}
}

func quotaRoots(t *testing.T, s Subject) {
	ctx := t.Context()
	if r := s.roots(t, ""); len(r) != 1 || r[0].Limits.Messages != s.QuotaMessages || r[0].Own.Messages != 0 || r[0].Limits.Size != 0 {
		t.Fatalf("the default: %+v", r)
	}
	for _, name := range []string{"team/a", "team/b", "teams"} {
		if _, _, err := s.Mailboxes.Create(ctx, 7, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	s.setQuota(t, "", 5000, -1)
	s.setQuota(t, "team", 2500, 0)
	s.setQuota(t, "team/a", 0, 1)
	if err := s.Quotas.SetQuota(ctx, 7, "nowhere", index.Limits{Size: 1}); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("of no mailbox: got %v, want ErrNoMailbox", err)
	}
	s.append(t, 7, "team/a", newMessage(1000))
	over := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, index.ErrOverQuota) {
			t.Errorf("%s: got %v, want ErrOverQuota", what, err)
		}
	}
	_, err := s.Mailboxes.Append(ctx, 7, "team/a", []index.Message{newMessage(200)})
	over("a second message", err)
	s.append(t, 7, "team/b", newMessage(1000))
	_, err = s.Mailboxes.Append(ctx, 7, "team/b", []index.Message{newMessage(600)})
	over("more octets than the tree has", err)
	_, err = s.Mailboxes.Append(ctx, 7, "team", []index.Message{newMessage(600)})
	over("more octets than the folder has", err)
	s.append(t, 7, "teams", newMessage(600))
	// MOVE into the tree adds to it; within it it does not.
	teams, b := s.find(t, 7, "teams"), s.find(t, 7, "team/b")
	_, err = s.Mailboxes.Move(ctx, 7, teams.ID, all, "team/b")
	over("moved into the tree", err)
	if _, err = s.Mailboxes.Move(ctx, 7, b.ID, all, "team"); err != nil {
		t.Errorf("moved within the tree: %v", err)
	}
	// Delivery waits, and says so.
	d := s.newDelivery(t, 7, index.Placement{Name: "team"})
	if r := s.deliver(t, d); r[0].Status != index.OverQuota {
		t.Errorf("delivered: %+v", r[0])
	}
	_, err = s.Mailboxes.Append(ctx, 7, "INBOX", []index.Message{newMessage(3000)})
	over("more octets than the account has", err)

	want := map[string]index.QuotaRoot{
		"":       {Own: index.Limits{Size: 5000, Messages: -1}, Limits: index.Limits{Size: 5000}, Size: 2600, Messages: 3},
		"team":   {Name: "team", Own: index.Limits{Size: 2500}, Limits: index.Limits{Size: 2500}, Size: 2000, Messages: 2},
		"team/a": {Name: "team/a", Own: index.Limits{Messages: 1}, Limits: index.Limits{Messages: 1}, Size: 1000, Messages: 1},
	}
	roots := s.roots(t, "team/a")
	if len(roots) != 3 {
		t.Errorf("%d roots of team/a: %+v", len(roots), roots)
	}
	for _, r := range roots {
		r.Root = 0
		if r != want[r.Name] {
			t.Errorf("got %+v, want %+v", r, want[r.Name])
		}
	}
	if r := s.roots(t, "team/b"); len(r) != 2 {
		t.Errorf("roots of team/b: %+v", r)
	}
	// Limits stay with a mailbox that gets another name, and go with it.
	if _, err := s.Mailboxes.Rename(ctx, 7, "team", "group"); err != nil {
		t.Fatal(err)
	}
	if r := s.roots(t, ""); len(r) != 3 || r[1].Name != "group" || r[2].Name != "group/a" {
		t.Errorf("renamed: %+v", r)
	}
	if _, err := s.Mailboxes.Delete(ctx, 7, "group/a"); err != nil {
		t.Fatal(err)
	}
	s.setQuota(t, "group", 0, 0)
	s.setQuota(t, "", 0, 0)
	if r := s.roots(t, ""); len(r) != 1 || r[0].Limits.Messages != s.QuotaMessages {
		t.Errorf("without limits: %+v", r)
	}
	list, err := s.Quotas.AccountQuotas(ctx, 6, 10)
	if err != nil || len(list) != 1 || list[0].Account != 7 || list[0].Messages != 2 || list[0].Limits.Messages != s.QuotaMessages {
		t.Errorf("AccountQuotas: %+v, %v", list, err)
	}
	if list, err = s.Quotas.AccountQuotasOf(ctx, []mailbox.AccountID{3, 7}); err != nil || len(list) != 1 || list[0].Account != 7 {
		t.Errorf("AccountQuotasOf: %+v, %v", list, err)
	}
}

// quotaPlacements: placements of one delivery under one root count together.
func quotaPlacements(t *testing.T, s Subject) {
	for _, name := range []string{"team/a", "team/b", "apart"} {
		if _, _, err := s.Mailboxes.Create(t.Context(), 7, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	s.setQuota(t, "team", 0, 3)
	s.setQuota(t, "team/b", 0, 2)
	s.append(t, 7, "team/a", newMessage(100))
	place := func(names ...string) index.Delivery {
		var list []index.Placement
		for _, name := range names {
			list = append(list, index.Placement{Name: name})
		}
		return s.newDelivery(t, 7, list...)
	}
	three, two, one, apart := place("team", "team/a", "team/b"), place("team/b", "apart", "team"), place("team/a"), place("apart")
	results := append(s.deliver(t, three), s.deliver(t, two, apart)...)
	results = append(results, s.deliver(t, one)...)
	for i, want := range []index.DeliverStatus{index.OverQuota, index.Delivered, index.Delivered, index.OverQuota} {
		if results[i].Status != want {
			t.Errorf("delivery %d: %+v, want %d", i, results[i], want)
		}
	}
	for name, want := range map[string]uint32{"team": 1, "team/a": 1, "team/b": 1, "apart": 2} {
		if m := s.find(t, 7, name); m.Messages != want {
			t.Errorf("%s has %d messages, want %d", name, m.Messages, want)
		}
	}
}

// quotaRename: mailboxes that come below a folder with limits count for it, whatever brings them there.
func quotaRename(t *testing.T, s Subject) {
	ctx := t.Context()
	for _, name := range []string{"full", "out/a", "free"} {
		if _, _, err := s.Mailboxes.Create(ctx, 7, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	s.append(t, 7, "full", newMessage(100), newMessage(100), newMessage(100))
	s.append(t, 7, "out", newMessage(100))
	s.append(t, 7, "out/a", newMessage(100), newMessage(100))
	s.setQuota(t, "full", 0, 5)
	refused := func(from, to string) {
		t.Helper()
		list, seq, _ := s.Mailboxes.List(ctx, 7)
		if _, err := s.Mailboxes.Rename(ctx, 7, from, to); !errors.Is(err, index.ErrOverQuota) {
			t.Errorf("Rename(%s, %s): got %v, want ErrOverQuota", from, to, err)
		}
		if after, seq2, err := s.Mailboxes.List(ctx, 7); err != nil || seq2 != seq || fmt.Sprint(names(after)) != fmt.Sprint(names(list)) {
			t.Errorf("Rename(%s, %s) changed %v to %v, %v", from, to, names(list), names(after), err)
		}
	}
	renamed := func(from, to string) {
		t.Helper()
		if _, err := s.Mailboxes.Rename(ctx, 7, from, to); err != nil {
			t.Errorf("Rename(%s, %s): %v", from, to, err)
		}
	}
	refused("out", "full/out")
	refused("out", "full/new/out")
	renamed("out/a", "full/a") // 5 of 5
	refused("out", "full/out")
	renamed("free", "full/free") // it is empty
	renamed("full/a", "full/b")
	// Over a limit that was set later: its tree gets other names, and gives.
	s.setQuota(t, "full", 0, 2)
	renamed("full/b", "full/c")
	renamed("full", "fuller")
	renamed("fuller/c", "c")
	s.append(t, 7, "INBOX", newMessage(100))
	refused("INBOX", "fuller/inbox")
	// Octets count as messages do.
	s.setQuota(t, "fuller", 350, 0)
	refused("out", "fuller/out")
	if r := s.roots(t, "fuller"); len(r) != 2 || r[1].Messages != 3 || r[1].Size != 300 {
		t.Errorf("left: %+v", r)
	}
}

func quotaNotices(t *testing.T, s Subject) {
	ctx := t.Context()
	s.setQuota(t, "", 10_000, 0)
	one := func() index.QuotaNotice {
		t.Helper()
		list, err := s.Quotas.QuotaNotices(ctx, 10)
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		return list[0]
	}
	none := func(what string) {
		t.Helper()
		if list, err := s.Quotas.QuotaNotices(ctx, 10); err != nil || len(list) > 0 {
			t.Errorf("%s: %+v, %v", what, list, err)
		}
	}
	s.append(t, 7, "INBOX", newMessage(7000))
	none("below")
	s.append(t, 7, "INBOX", newMessage(1200))
	first := one()
	if first.Level != 80 || first.Previous != 0 || first.Account != 7 || first.Size != 8200 || first.Limits.Size != 10_000 {
		t.Errorf("passed 80: %+v", first)
	}
	s.append(t, 7, "INBOX", newMessage(1400))
	if n := one(); n.Level != 95 || n.Previous != 0 {
		t.Errorf("passed 95 before anybody was told: %+v", n)
	}
	// Whoever still has the first tells nothing.
	if _, told, err := s.Quotas.TellQuota(ctx, first, newMessage(300)); err != nil || told {
		t.Errorf("an old notice: %v, %v", told, err)
	}
	// A failure tells nothing, and the notice stays.
	lost := errors.New("lost")
	s.FailAt(func(step string) error {
		if step == "append.before-commit" {
			return lost
		}
		return nil
	})
	if _, _, err := s.Quotas.TellQuota(ctx, one(), newMessage(700)); !errors.Is(err, lost) {
		t.Errorf("got %v", err)
	}
	s.FailAt(func(string) error { return nil })
	n := one()
	r, told, err := s.Quotas.TellQuota(ctx, n, newMessage(700)) // more than there is room for
	if err != nil || !told || len(r.UIDs) != 1 || r.Mailbox != s.find(t, 7, "INBOX").ID {
		t.Fatalf("%+v, %v, %v", r, told, err)
	}
	none("told")
	if _, told, err := s.Quotas.TellQuota(ctx, n, newMessage(700)); err != nil || told {
		t.Errorf("told again: %v, %v", told, err)
	}
	// A little below is not below; far below is told once.
	box := s.find(t, 7, "INBOX")
	if _, err := s.Mailboxes.Expunge(ctx, 7, box.ID, mailbox.UIDSet{{First: r.UIDs[0], Last: r.UIDs[0]}}, true); err != nil {
		t.Fatal(err)
	}
	none("9600 of 10000")
	if _, err := s.Mailboxes.Expunge(ctx, 7, box.ID, all, true); err != nil {
		t.Fatal(err)
	}
	if n := one(); n.Level != 0 || n.Previous != 95 {
		t.Errorf("empty: %+v", n)
	}
	// Back where it was told of: there is nothing to tell.
	s.append(t, 7, "INBOX", newMessage(9600))
	none("as it was")
}

func recount(t *testing.T, s Subject) {
	ctx := t.Context()
	s.append(t, 7, "INBOX", newMessage(1000), newMessage(500, `\Seen`), newMessage(300, `\Deleted`))
	s.append(t, 7, "Sent", newMessage(200))
	if list, err := s.Quotas.Recount(ctx, 7); err != nil || len(list) > 0 {
		t.Fatalf("nothing is wrong: %+v, %v", list, err)
	}
	if err := s.Miscount(7); err != nil {
		t.Fatal(err)
	}
	want := map[string]index.Difference{
		"INBOX unseen":  {Counter: "unseen", Was: 7, Is: 2},
		"INBOX deleted": {Counter: "deleted", Was: 8, Is: 1},
		"INBOX size":    {Counter: "size", Was: 9, Is: 1800},
		" messages":     {Counter: "messages", Was: 99, Is: 4},
		" size":         {Counter: "size", Was: 2005, Is: 2000},
	}
	list, err := s.Quotas.Recount(ctx, 7)
	if err != nil || len(list) != len(want) {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, d := range list {
		if w := want[d.Name+" "+d.Counter]; d.Was != w.Was || d.Is != w.Is {
			t.Errorf("got %+v, want %+v", d, w)
		}
	}
	if m := s.find(t, 7, "INBOX"); m.Unseen != 2 || m.Deleted != 1 || m.Size != 1800 {
		t.Errorf("%+v", m)
	}
	if list, err := s.Quotas.Recount(ctx, 7); err != nil || len(list) > 0 {
		t.Errorf("again: %+v, %v", list, err)
	}
}
