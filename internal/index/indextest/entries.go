package indextest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

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
	// Mail is not refused for a keyword.
	d := s.newDelivery(t, 7, index.Placement{Flags: []string{"one-more", `\Seen`}})
	if r := s.deliver(t, d)[0]; r.Status != index.Delivered {
		t.Errorf("delivered: %+v", r)
	}
	if got := s.look(t, 7, box).entries()[1].Flags; got != mailbox.Seen {
		t.Errorf("delivered with %x", got)
	}
	change.Flags = []string{"KEY7", `\flagged`}
	change.Mode = index.ReplaceFlags
	if _, err := s.Mailboxes.Flag(ctx, change); err != nil {
		t.Errorf("in another case: %v", err)
	}
	if got := s.look(t, 7, box).entries()[0].Flags.Names(m.Keywords); !reflect.DeepEqual(got, []string{`\Flagged`, "key7"}) {
		t.Errorf("got %q", got)
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

// keywordsGivenBack: where all keywords are taken, one that no message has gives its place to a new one; not one that a reader has
// for himself.
func keywordsGivenBack(t *testing.T, s Subject) {
	ctx := t.Context()
	reader := index.Reader{Account: 1, Own: []string{"key1"}}
	box := s.append(t, 7, "INBOX", newMessage(500), newMessage(500)).Mailbox
	flag := func(r index.Reader, mode index.FlagMode, uid mailbox.UID, names ...string) error {
		_, err := s.Mailboxes.Flag(ctx, index.FlagChange{Account: 7, Mailbox: box, UIDs: one(uid), Mode: mode, Flags: names, Reader: r})
		return err
	}
	var names []string
	for i := range mailbox.MaxKeywords {
		names = append(names, fmt.Sprintf("key%d", i))
	}
	if err := errors.Join(flag(index.Reader{}, index.AddFlags, 1, names...), flag(reader, index.AddFlags, 1, "key1")); err != nil {
		t.Fatal(err)
	}
	before := s.look(t, 7, box)
	if err := flag(index.Reader{}, index.AddFlags, 2, "new"); !errors.Is(err, index.ErrKeywords) {
		t.Errorf("all are in use: %v, want ErrKeywords", err)
	}
	// The owner has neither any more; the reader has one of them.
	if err := flag(index.Reader{}, index.RemoveFlags, 1, "key1", "key2"); err != nil {
		t.Fatal(err)
	}
	if err := flag(index.Reader{}, index.AddFlags, 2, `\Flagged`, "new", "NEW"); err != nil {
		t.Fatalf("one is free: %v", err)
	}
	if err := flag(index.Reader{}, index.AddFlags, 2, "newer"); !errors.Is(err, index.ErrKeywords) {
		t.Errorf("a reader has the other: %v, want ErrKeywords", err)
	}
	v := s.look(t, 7, box)
	m := s.find(t, 7, "INBOX")
	if len(m.Keywords) != mailbox.MaxKeywords || m.Keywords[1] != "key1" || m.Keywords[2] != "new" {
		t.Errorf("keywords %q", m.Keywords)
	}
	if got := v.entries()[0].Flags.Names(m.Keywords); len(got) != mailbox.MaxKeywords-2 || slices.Contains(got, "new") {
		t.Errorf("the first has %q", got)
	}
	if got := v.entries()[1].Flags.Names(m.Keywords); !reflect.DeepEqual(got, []string{`\Flagged`, "new"}) {
		t.Errorf("the second has %q", got)
	}
	// Who brings an earlier look up to date sees the same.
	if err := s.update(ctx, 7, box, before.mailbox.HighestModSeq, &before); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before.entries(), v.entries()) || !slices.Equal(before.mailbox.Keywords, m.Keywords) {
		t.Errorf("brought up to date:\n%+v %q\nwant\n%+v %q", before.entries(), before.mailbox.Keywords, v.entries(), m.Keywords)
	}
	// Two that come at once get places of their own; one that arrives with more than there is room for gets what there is.
	if err := flag(index.Reader{}, index.RemoveFlags, 1, "key3", "key4"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mailboxes.Append(ctx, 7, "INBOX", []index.Message{newMessage(500, "a", "b"), newMessage(500, "b", "a", "key5")}); err != nil {
		t.Fatal(err)
	}
	m, v = s.find(t, 7, "INBOX"), s.look(t, 7, box)
	if got := v.entries()[2].Flags.Names(m.Keywords); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("appended with %q", got)
	}
	if got := v.entries()[3].Flags.Names(m.Keywords); !slices.Equal(got, []string{"a", "b", "key5"}) {
		t.Errorf("appended with %q", got)
	}
	// A copy whose keywords find no room is not made, nor is a part of it, and nothing moves.
	from := s.append(t, 7, "Archive", newMessage(500, "elsewhere", "key5", `\Seen`), newMessage(500, "elsewhere")).Mailbox
	was, source := s.find(t, 7, "INBOX"), s.find(t, 7, "Archive")
	if _, err := s.Mailboxes.Copy(ctx, 7, from, all, "INBOX"); !errors.Is(err, index.ErrKeywords) {
		t.Errorf("Copy: %v, want ErrKeywords", err)
	}
	if _, err := s.Mailboxes.Move(ctx, 7, from, all, "INBOX"); !errors.Is(err, index.ErrKeywords) {
		t.Errorf("Move: %v, want ErrKeywords", err)
	}
	copied := index.Once{Operation: index.Operation{9}, Source: mailbox.UIDSet{{First: 1, Last: 2}}}
	if _, err := s.Mailboxes.AppendOnce(ctx, 7, "INBOX", []index.Message{newMessage(500, "key5"), newMessage(500, "elsewhere")}, copied); !errors.Is(err, index.ErrKeywords) {
		t.Errorf("from another account: %v, want ErrKeywords", err)
	}
	if is := s.find(t, 7, "INBOX"); !reflect.DeepEqual(is, was) {
		t.Errorf("the target changed: %+v to %+v", was, is)
	}
	if is := s.find(t, 7, "Archive"); !reflect.DeepEqual(is, source) {
		t.Errorf("the source changed: %+v to %+v", source, is)
	}
	// One whose keywords are there is copied.
	if err := flag(index.Reader{}, index.RemoveFlags, 1, "key6"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mailboxes.Move(ctx, 7, from, all, "INBOX"); err != nil {
		t.Errorf("Move with room: %v", err)
	}
	m, v = s.find(t, 7, "INBOX"), s.look(t, 7, box)
	for i, want := range [][]string{{`\Seen`, "key5", "elsewhere"}, {"elsewhere"}} {
		if got := v.entries()[4+i].Flags.Names(m.Keywords); !slices.Equal(got, want) {
			t.Errorf("moved with %q, want %q", got, want)
		}
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
