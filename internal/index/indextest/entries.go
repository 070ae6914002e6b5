package indextest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func appendMessages(t *testing.T, s Subject) {
	a, b := newMessage(500, `\Seen`, "$Forwarded"), newMessage(700, `\Deleted`)
	r := s.append(t, 7, "Drafts", a, b)
	if !reflect.DeepEqual(r.UIDs, []mailbox.UID{1, 2}) {
		t.Errorf("UIDs %v", r.UIDs)
	}
	m := s.find(t, 7, "Drafts")
	if m.ID != r.Mailbox || m.UIDValidity != r.UIDValidity || m.Messages != 2 || m.Unseen != 1 || m.Deleted != 1 || m.Size != 1200 || m.UIDNext != 3 {
		t.Errorf("got %+v", m)
	}
	v := s.look(t, 7, r.Mailbox)
	for i, e := range v.entries() {
		if want := []index.Message{a, b}[i]; e.ModSeq != r.ModSeq || e.Received != want.Received.Unix() || e.Size != want.VisibleSize() {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	if got := v.entries()[0].Flags.Names(m.Keywords); !reflect.DeepEqual(got, []string{`\Seen`, "$Forwarded"}) {
		t.Errorf("flags %q", got)
	}
	if _, err := s.Mailboxes.Append(t.Context(), 7, "nowhere", []index.Message{a}); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("got %v, want ErrNoMailbox", err)
	}
}

func quota(t *testing.T, s Subject) {
	var list []index.Message
	for range 1000 {
		list = append(list, newMessage(200))
	}
	box := s.append(t, 7, "INBOX", list...).Mailbox
	for n := int64(1000); n*2 <= s.QuotaMessages; n *= 2 {
		if _, err := s.Mailboxes.Copy(t.Context(), 7, box, all, "INBOX"); err != nil {
			t.Fatalf("Copy of %d: %v", n, err)
		}
	}
	was := s.find(t, 7, "INBOX")
	if _, err := s.Mailboxes.Copy(t.Context(), 7, box, all, "INBOX"); !errors.Is(err, index.ErrOverQuota) {
		t.Errorf("Copy: got %v, want ErrOverQuota", err)
	}
	if is := s.find(t, 7, "INBOX"); !reflect.DeepEqual(is, was) {
		t.Errorf("changed: %+v to %+v", was, is)
	}
	if _, err := s.Mailboxes.Move(t.Context(), 7, box, all, "Trash"); err != nil {
		t.Errorf("Move asks for room: %v", err)
	}
	if m := s.find(t, 7, "Trash"); m.Messages != was.Messages {
		t.Errorf("moved %d of %d", m.Messages, was.Messages)
	}
}

func keywords(t *testing.T, s Subject) {
	ctx := t.Context()
	box := s.append(t, 7, "INBOX", newMessage(500)).Mailbox
	change := index.FlagChange{Account: 7, Mailbox: box, UIDs: one(1), Mode: index.AddFlags}
	for i := range mailbox.MaxKeywords {
		change.Flags = []string{fmt.Sprintf("key%d", i)}
		if _, err := s.Mailboxes.Flag(ctx, change); err != nil {
			t.Fatalf("keyword %d: %v", i, err)
		}
	}
	m := s.find(t, 7, "INBOX")
	change.Flags = []string{"one-more"}
	if _, err := s.Mailboxes.Flag(ctx, change); !errors.Is(err, index.ErrKeywords) {
		t.Errorf("Flag: got %v, want ErrKeywords", err)
	}
	if _, err := s.Mailboxes.Append(ctx, 7, "INBOX", []index.Message{newMessage(500, "one-more")}); !errors.Is(err, index.ErrKeywords) {
		t.Errorf("Append: got %v, want ErrKeywords", err)
	}
	change.Flags = []string{"KEY7", `\flagged`}
	change.Mode = index.ReplaceFlags
	if _, err := s.Mailboxes.Flag(ctx, change); err != nil {
		t.Errorf("in another case: %v", err)
	}
	if got := s.look(t, 7, box).entries()[0].Flags.Names(m.Keywords); !reflect.DeepEqual(got, []string{`\Flagged`, "key7"}) {
		t.Errorf("got %q", got)
	}
	// Mail is not refused for a keyword.
	d := s.newDelivery(t, 7, index.Placement{Flags: []string{"one-more", `\Seen`}})
	if r := s.deliver(t, d)[0]; r.Status != index.Delivered {
		t.Errorf("delivered: %+v", r)
	}
	if got := s.look(t, 7, box).entries()[1].Flags; got != mailbox.Seen {
		t.Errorf("delivered with %x", got)
	}
	// Keywords are carried to a mailbox that has others, or has them elsewhere.
	s.append(t, 7, "Archive", newMessage(500, "key9", "key7"))
	r, err := s.Mailboxes.Copy(ctx, 7, box, one(1), "Archive")
	if err != nil {
		t.Fatal(err)
	}
	archive := s.look(t, 7, r.Target)
	if got := archive.entries()[1].Flags.Names(archive.mailbox.Keywords); !reflect.DeepEqual(got, []string{`\Flagged`, "key7"}) {
		t.Errorf("copied: %q", got)
	}
	// Removing an unknown keyword makes none.
	if _, err := s.Mailboxes.Flag(ctx, index.FlagChange{Account: 7, Mailbox: r.Target, UIDs: all, Mode: index.RemoveFlags, Flags: []string{"new"}}); err != nil {
		t.Fatal(err)
	}
	if m := s.find(t, 7, "Archive"); len(m.Keywords) != 2 {
		t.Errorf("keywords %q", m.Keywords)
	}
}

func flagConditional(t *testing.T, s Subject) {
	ctx := t.Context()
	r := s.append(t, 7, "INBOX", newMessage(500), newMessage(500), newMessage(500))
	change := index.FlagChange{Account: 7, Mailbox: r.Mailbox, UIDs: one(2), Mode: index.AddFlags, Flags: []string{`\Flagged`}}
	first, err := s.Mailboxes.Flag(ctx, change)
	if err != nil || !first.Changed || first.ModSeq <= r.ModSeq {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := s.Mailboxes.Flag(ctx, change)
	if err != nil || again.Changed || again.ModSeq != first.ModSeq {
		t.Errorf("unchanged flags: %+v, %v", again, err)
	}
	change.UIDs, change.Flags = all, []string{`\Answered`}
	change.Conditional, change.UnchangedSince = true, r.ModSeq
	second, err := s.Mailboxes.Flag(ctx, change)
	if err != nil || !reflect.DeepEqual(second.Modified, one(2)) || !second.Changed {
		t.Errorf("conditional: %+v, %v", second, err)
	}
	change.UnchangedSince = 0
	third, err := s.Mailboxes.Flag(ctx, change)
	if err != nil || !reflect.DeepEqual(third.Modified, mailbox.UIDSet{{First: 1, Last: 3}}) || third.Changed {
		t.Errorf("UNCHANGEDSINCE 0: %+v, %v", third, err)
	}
	var got []mailbox.ModSeq
	for _, e := range s.look(t, 7, r.Mailbox).entries() {
		got = append(got, e.ModSeq)
	}
	if want := []mailbox.ModSeq{second.ModSeq, first.ModSeq, second.ModSeq}; !reflect.DeepEqual(got, want) {
		t.Errorf("MODSEQs %v, want %v", got, want)
	}
	change.Mailbox = nowhere
	if _, err := s.Mailboxes.Flag(ctx, change); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("got %v, want ErrNoMailbox", err)
	}
	change.Mailbox, change.Account = r.Mailbox, 8
	if _, err := s.Mailboxes.Flag(ctx, change); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("another's mailbox: got %v, want ErrNoMailbox", err)
	}
}

// flagMany has several chunks, of which some are passed over.
func flagMany(t *testing.T, s Subject) {
	var list []index.Message
	for range 2000 {
		list = append(list, newMessage(300))
	}
	box := s.append(t, 7, "INBOX", list...).Mailbox
	few := mailbox.UIDSet{{First: 3, Last: 3}, {First: 250, Last: 260}, {First: 1999, Last: 5000}}
	var many mailbox.UIDSet
	for uid := mailbox.UID(10); uid < 1500; uid += 100 {
		many = many.Append(uid, uid+1)
	}
	for i, set := range []mailbox.UIDSet{few, many, all} {
		flag := []string{"few", "many", "all"}[i]
		if _, err := s.Mailboxes.Flag(t.Context(), index.FlagChange{Account: 7, Mailbox: box, UIDs: set, Mode: index.AddFlags, Flags: []string{flag}}); err != nil {
			t.Fatal(err)
		}
		v := s.look(t, 7, box)
		for _, e := range v.entries() {
			if got := slices.Contains(e.Flags.Names(v.mailbox.Keywords), flag); got != set.Contains(e.UID) {
				t.Fatalf("%s: UID %d has it: %v", flag, e.UID, got)
			}
		}
	}
	if _, err := s.Mailboxes.Flag(t.Context(), index.FlagChange{Account: 7, Mailbox: box, Mode: index.AddFlags, Flags: []string{`\Seen`}}); err != nil {
		t.Errorf("no UIDs: %v", err)
	}
	if m := s.find(t, 7, "INBOX"); m.Unseen != 2000 {
		t.Errorf("unseen %d", m.Unseen)
	}
}

func copyAndMove(t *testing.T, s Subject) {
	ctx := t.Context()
	box := s.append(t, 7, "INBOX", newMessage(500, `\Seen`), newMessage(600), newMessage(700, `\Deleted`)).Mailbox
	r, err := s.Mailboxes.Copy(ctx, 7, box, mailbox.UIDSet{{First: 2, Last: 9}}, "Archive")
	if err != nil {
		t.Fatal(err)
	}
	archive := s.find(t, 7, "Archive")
	if !reflect.DeepEqual(r.Source, mailbox.UIDSet{{First: 2, Last: 3}}) || !reflect.DeepEqual(r.Copies, mailbox.UIDSet{{First: 1, Last: 2}}) ||
		r.UIDValidity != archive.UIDValidity || r.Target != archive.ID {
		t.Errorf("Copy: %+v", r)
	}
	if archive.Messages != 2 || archive.Unseen != 2 || archive.Deleted != 1 || archive.Size != 1300 {
		t.Errorf("copied: %+v", archive)
	}
	from, to := s.look(t, 7, box).entries(), s.look(t, 7, r.Target).entries()
	if from[1].Email != to[0].Email || from[1].Received != to[0].Received || to[0].ModSeq != r.ModSeq {
		t.Errorf("copy of %+v is %+v", from[1], to[0])
	}
	m, err := s.Mailboxes.Move(ctx, 7, box, mailbox.UIDSet{{First: 1, Last: 1}, {First: 3, Last: 3}, {First: 77, Last: 77}}, "Archive")
	if err != nil || !reflect.DeepEqual(m.Source, mailbox.UIDSet{{First: 1, Last: 1}, {First: 3, Last: 3}}) ||
		!reflect.DeepEqual(m.Copies, mailbox.UIDSet{{First: 3, Last: 4}}) {
		t.Errorf("Move: %+v, %v", m, err)
	}
	if got := s.look(t, 7, box).uids(); !reflect.DeepEqual(got, []mailbox.UID{2}) {
		t.Errorf("left: %v", got)
	}
	none, err := s.Mailboxes.Copy(ctx, 7, box, one(99), "Archive")
	if err != nil || len(none.Copies) != 0 || none.ModSeq != m.ModSeq {
		t.Errorf("Copy of nothing: %+v, %v", none, err)
	}
	for _, f := range []func() error{
		func() error { _, err := s.Mailboxes.Copy(ctx, 7, box, all, "nowhere"); return err },
		func() error { _, err := s.Mailboxes.Move(ctx, 7, box, all, "nowhere"); return err },
		func() error { _, err := s.Mailboxes.Copy(ctx, 7, nowhere, all, "INBOX"); return err },
		func() error { _, err := s.Mailboxes.Expunge(ctx, 7, nowhere, all, true); return err },
	} {
		if err := f(); !errors.Is(err, index.ErrNoMailbox) {
			t.Errorf("got %v, want ErrNoMailbox", err)
		}
	}
}

func moveWithin(t *testing.T, s Subject) {
	box := s.append(t, 7, "INBOX", newMessage(500), newMessage(600), newMessage(700)).Mailbox
	r, err := s.Mailboxes.Move(t.Context(), 7, box, mailbox.UIDSet{{First: 1, Last: 2}}, "INBOX")
	if err != nil || !reflect.DeepEqual(r.Copies, mailbox.UIDSet{{First: 4, Last: 5}}) {
		t.Errorf("%+v, %v", r, err)
	}
	if got := s.look(t, 7, box).uids(); !reflect.DeepEqual(got, []mailbox.UID{3, 4, 5}) {
		t.Errorf("got %v", got)
	}
	if m := s.find(t, 7, "INBOX"); m.Messages != 3 || m.Size != 1800 || m.Unseen != 3 {
		t.Errorf("got %+v", m)
	}
}

func condemned(t *testing.T, s Subject) {
	m := newMessage(500)
	box := s.append(t, 7, "INBOX", m, newMessage(600)).Mailbox
	if err := s.Condemn(m.Blob); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mailboxes.Append(t.Context(), 7, "INBOX", []index.Message{m}); !errors.Is(err, index.ErrCondemned) {
		t.Errorf("Append: got %v, want ErrCondemned", err)
	}
	if _, err := s.Mailboxes.Copy(t.Context(), 7, box, all, "Archive"); !errors.Is(err, index.ErrCondemned) {
		t.Errorf("Copy: got %v, want ErrCondemned", err)
	}
	if _, err := s.Mailboxes.Copy(t.Context(), 7, box, one(2), "Archive"); err != nil {
		t.Errorf("Copy of the other: %v", err)
	}
	d := s.newDelivery(t, 7)
	d.Blob = m.Blob
	if r := s.deliver(t, d)[0]; r.Status != index.Failed || !errors.Is(r.Err, index.ErrCondemned) {
		t.Errorf("Deliver: %+v", r)
	}
	if m := s.find(t, 7, "Archive"); m.Messages != 1 {
		t.Errorf("Archive has %d", m.Messages)
	}
}

func snapshot(t *testing.T, s Subject) {
	ctx := t.Context()
	var list []index.Message
	for range mailbox.ChunkSize*index.PageChunks + 300 { // more than one page
		list = append(list, newMessage(300))
	}
	r := s.append(t, 7, "INBOX", list...)
	v := s.look(t, 7, r.Mailbox)
	if len(v.entries()) != len(list) || v.mailbox.Messages != uint32(len(list)) || v.complete {
		t.Fatalf("%d entries, %+v", len(v.entries()), v.mailbox)
	}
	f, err := s.Mailboxes.Flag(ctx, index.FlagChange{Account: 7, Mailbox: r.Mailbox, UIDs: one(4000), Mode: index.AddFlags, Flags: []string{`\Seen`}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.update(ctx, 7, r.Mailbox, r.ModSeq, &v); err != nil || v.sent != 1 || v.complete {
		t.Errorf("after one flag: %d chunks, %v", v.sent, err)
	}
	if _, err := s.Mailboxes.Expunge(ctx, 7, r.Mailbox, mailbox.UIDSet{{First: 10, Last: 2000}}, true); err != nil {
		t.Fatal(err)
	}
	if err := s.update(ctx, 7, r.Mailbox, f.ModSeq, &v); err != nil || v.expunged.Len() != 1991 {
		t.Errorf("expunged %d, %v", v.expunged.Len(), err)
	}
	if whole := s.look(t, 7, r.Mailbox); !reflect.DeepEqual(v.uids(), whole.uids()) {
		t.Errorf("brought up to date: %d entries, want %d", len(v.uids()), len(whole.uids()))
	}
	if err := s.update(ctx, 7, r.Mailbox, v.mailbox.HighestModSeq, &v); err != nil || v.sent != 0 || len(v.expunged) != 0 || v.complete {
		t.Errorf("nothing new: %d chunks, %v expunged, %v", v.sent, v.expunged, err)
	}
	if err := s.update(ctx, 7, r.Mailbox, v.mailbox.HighestModSeq+1000, &v); err != nil || !v.complete || len(v.entries()) != len(list)-1991 {
		t.Errorf("from a future that never was: complete %v, %d entries, %v", v.complete, len(v.entries()), err)
	}
	stop := errors.New("stop")
	if err := s.Mailboxes.Snapshot(ctx, index.SnapshotQuery{Account: 7, Mailbox: r.Mailbox}, func(*index.Page) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want what each returned", err)
	}
	if err := s.update(ctx, 8, r.Mailbox, 0, &view{}); !errors.Is(err, index.ErrNoMailbox) {
		t.Errorf("another's mailbox: got %v, want ErrNoMailbox", err)
	}
}

func recent(t *testing.T, s Subject) {
	box := s.append(t, 7, "INBOX", newMessage(500), newMessage(600)).Mailbox
	take := func(take bool) mailbox.UID {
		var got mailbox.UID
		if err := s.Mailboxes.Snapshot(t.Context(), index.SnapshotQuery{Account: 7, Mailbox: box, TakeRecent: take}, func(p *index.Page) error {
			got = p.Mailbox.RecentUID
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for i, want := range []mailbox.UID{1, 1, 3, 3} {
		if got := take(i > 0); got != want {
			t.Errorf("look %d: recent from %d, want %d", i, got, want)
		}
	}
	seq := s.find(t, 7, "INBOX").HighestModSeq
	s.append(t, 7, "INBOX", newMessage(500))
	if got := take(true); got != 3 {
		t.Errorf("recent from %d, want 3", got)
	}
	if got := s.find(t, 7, "INBOX").HighestModSeq; got != seq+1 {
		t.Errorf("taking the mark counted as a change: MODSEQ %d after %d", got, seq)
	}
}

func emails(t *testing.T, s Subject) {
	var list []index.Message
	for range 150 {
		list = append(list, newMessage(400))
	}
	list[5].Overlay = nil
	list[6].PartIndex = nil
	v := s.look(t, 7, s.append(t, 7, "INBOX", list...).Mailbox)
	other := s.look(t, 8, s.append(t, 8, "INBOX", newMessage(500)).Mailbox).entries()[0].Email
	var ids []mailbox.EmailID
	for _, e := range v.entries() {
		ids = append(ids, e.Email)
	}
	slices.Reverse(ids)
	asked := append([]mailbox.EmailID{1, other, ids[3]}, ids...)
	got, err := s.Mailboxes.Emails(t.Context(), 7, asked, true)
	if err != nil || len(got) != 151 || got[0].ID != ids[3] {
		t.Fatalf("%d emails, %v", len(got), err)
	}
	threads := map[mailbox.ThreadID]bool{}
	for i, e := range got[1:] {
		want := list[len(list)-1-i]
		if e.ID != ids[i] || e.Blob != want.Blob || !proto.Equal(e.Overlay, want.Overlay) || string(e.PartIndex) != string(want.PartIndex) ||
			e.Size != want.Size || !e.Received.Equal(want.Received) || threads[e.Thread] {
			t.Fatalf("email %d: %+v, want %+v", i, e, want)
		}
		threads[e.Thread] = true
	}
	if got, err := s.Mailboxes.Emails(t.Context(), 7, ids[:2], false); err != nil || len(got) != 2 || len(got[0].PartIndex) != 0 {
		t.Errorf("without part index: %+v, %v", got, err)
	}
	if got, err := s.Mailboxes.Emails(t.Context(), 7, nil, true); err != nil || len(got) != 0 {
		t.Errorf("none: %+v, %v", got, err)
	}
}

func counters(t *testing.T, s Subject) {
	var accounts []mailbox.AccountID
	want := map[mailbox.AccountID]mailbox.ModSeq{}
	for a := mailbox.AccountID(1); a <= 70; a++ {
		accounts = append(accounts, a, a+1000) // the second of them is never touched
		want[a] = s.append(t, a, "INBOX", newMessage(500)).ModSeq
	}
	seqs, err := s.Mailboxes.Counters(t.Context(), accounts)
	if err != nil || len(seqs) != len(accounts) {
		t.Fatalf("%d of %d, %v", len(seqs), len(accounts), err)
	}
	for i, seq := range seqs {
		if seq != want[accounts[i]] {
			t.Errorf("account %d: %d, want %d", accounts[i], seq, want[accounts[i]])
		}
	}
}
