package indextest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// seenBy is what a reader sees of a mailbox: "UID flags" and the MODSEQs, of what changed after since.
func (s *Subject) seenBy(t tester, account mailbox.AccountID, box mailbox.ID, r index.Reader, since mailbox.ModSeq) (list []string, seqs map[mailbox.UID]mailbox.ModSeq) {
	t.Helper()
	seqs = map[mailbox.UID]mailbox.ModSeq{}
	err := s.Mailboxes.Snapshot(t.Context(), index.SnapshotQuery{Account: account, Mailbox: box, Since: since, Reader: r}, func(p *index.Page) error {
		for i := range p.Chunks {
			var c mailbox.Chunk
			if err := c.Unpack(&p.Chunks[i]); err != nil {
				return err
			}
			for k, uid := range c.UIDs {
				if c.ModSeqs[k] > c.MaxModSeq {
					return fmt.Errorf("UID %d has MODSEQ %d above the chunk's %d", uid, c.ModSeqs[k], c.MaxModSeq)
				}
				list = append(list, fmt.Sprintf("%d %x", uid, uint64(c.Flags[k])))
				seqs[uid] = c.ModSeqs[k]
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("Snapshot: %v", err)
	}
	return list, seqs
}

// readers: \Seen is each reader's own, with MODSEQs of the owner's counter.
func readers(t *testing.T, s Subject) {
	const owner = 31
	bob := index.Reader{Account: 1, Own: []string{`\Seen`, "$Later"}}
	carol := index.Reader{Account: 2, Own: []string{`\Seen`, "$Later"}}
	var list []index.Message
	for range 300 { // two chunks
		list = append(list, newMessage(200))
	}
	list[0].Flags = []string{`\Seen`}
	s.append(t, owner, index.Inbox, list...)
	box := s.find(t, owner, index.Inbox)
	flag := func(r index.Reader, mode index.FlagMode, uids mailbox.UIDSet, flags ...string) index.FlagResult {
		t.Helper()
		res, err := s.Mailboxes.Flag(t.Context(), index.FlagChange{Account: owner, Mailbox: box.ID, UIDs: uids, Mode: mode, Flags: flags, Reader: r})
		if err != nil {
			t.Fatalf("Flag: %v", err)
		}
		return res
	}
	one := func(uid mailbox.UID) mailbox.UIDSet { return mailbox.UIDSet{{First: uid, Last: uid}} }
	what := func(r index.Reader, uid int) string {
		t.Helper()
		list, _ := s.seenBy(t, owner, box.ID, r, 0)
		if len(list) != 300 {
			t.Fatalf("%d entries", len(list))
		}
		return list[uid-1]
	}
	wants := func(when string, uid int, ofOwner, ofBob, ofCarol mailbox.Flags) {
		t.Helper()
		for i, r := range []index.Reader{{}, bob, carol} {
			want := fmt.Sprintf("%d %x", uid, uint64([]mailbox.Flags{ofOwner, ofBob, ofCarol}[i]))
			if got := what(r, uid); got != want {
				t.Errorf("%s: reader %d sees %q, want %q", when, r.Account, got, want)
			}
		}
	}
	wants("at first", 1, mailbox.Seen, 0, 0)
	before := s.find(t, owner, index.Inbox)
	r := flag(bob, index.AddFlags, mailbox.UIDSet{{First: 2, Last: 2}, {First: 299, Last: 300}}, `\Seen`, `\Flagged`)
	wants("bob has seen", 2, mailbox.Flagged, mailbox.Flagged|mailbox.Seen, mailbox.Flagged)
	after := s.find(t, owner, index.Inbox)
	if !r.Changed || r.ModSeq != before.HighestModSeq+1 || after.HighestModSeq != r.ModSeq || after.Unseen != before.Unseen {
		t.Errorf("changed %v at %d, mailbox from %d to %d, unseen from %d to %d", r.Changed, r.ModSeq, before.HighestModSeq, after.HighestModSeq, before.Unseen, after.Unseen)
	}
	// A change of his own alone is told to him, and to nobody else.
	r = flag(bob, index.AddFlags, one(3), `\Seen`)
	if list, seqs := s.seenBy(t, owner, box.ID, bob, r.ModSeq-1); len(list) != 256 || seqs[3] != r.ModSeq {
		t.Errorf("bob is told of %d entries, UID 3 at %d; want its chunk, at %d", len(list), seqs[3], r.ModSeq)
	}
	for _, other := range []index.Reader{{}, carol} {
		if list, _ := s.seenBy(t, owner, box.ID, other, r.ModSeq-1); len(list) != 0 {
			t.Errorf("reader %d is told of %d entries that bob has seen", other.Account, len(list))
		}
	}
	if r = flag(bob, index.AddFlags, one(3), `\Seen`); r.Changed {
		t.Error("what he had seen already changed")
	}
	// A conditional change looks at the greater of both MODSEQs.
	res, err := s.Mailboxes.Flag(t.Context(), index.FlagChange{Account: owner, Mailbox: box.ID, UIDs: mailbox.UIDSet{{First: 3, Last: 4}}, Mode: index.RemoveFlags,
		Flags: []string{`\Seen`}, Reader: bob, Conditional: true, UnchangedSince: before.HighestModSeq})
	if err != nil || !slices.Equal(res.Modified, one(3)) {
		t.Errorf("a conditional change kept back %v, %v; want UID 3", res.Modified, err)
	}
	flag(carol, index.ReplaceFlags, one(2), `\Seen`, "$Later")
	later := mailbox.KeywordFlag(0)
	wants("carol replaced", 2, 0, mailbox.Seen, mailbox.Seen|later)
	flag(index.Reader{}, index.AddFlags, one(2), `\Seen`, "$Later", `\Deleted`)
	wants("the owner added", 2, mailbox.Seen|later|mailbox.Deleted, mailbox.Seen|mailbox.Deleted, mailbox.Seen|later|mailbox.Deleted)
	// Who may not change all keeps the rest as it is.
	if _, err := s.Mailboxes.Flag(t.Context(), index.FlagChange{Account: owner, Mailbox: box.ID, UIDs: one(2), Mode: index.ReplaceFlags, Reader: bob, Keep: ^mailbox.Seen}); err != nil {
		t.Fatal(err)
	}
	wants("bob has not seen", 2, mailbox.Seen|later|mailbox.Deleted, mailbox.Deleted, mailbox.Seen|later|mailbox.Deleted)
	// What is expunged is gone for all; a chunk's last entry takes the readers' rows along.
	if _, err := s.Mailboxes.Expunge(t.Context(), owner, box.ID, mailbox.UIDSet{{First: 257, Last: 300}}, true); err != nil {
		t.Fatal(err)
	}
	if list, _ := s.seenBy(t, owner, box.ID, bob, 0); len(list) != 256 {
		t.Errorf("%d entries left", len(list))
	}
}

// appendOwnFlags: what a reader adds has his own flags for him alone, from the same step on, over chunks and again.
func appendOwnFlags(t *testing.T, s Subject) {
	const owner = 31
	ctx := t.Context()
	s.append(t, owner, index.Inbox, newMessage(100))
	box := s.find(t, owner, index.Inbox).ID
	bob, carol := index.Reader{Account: 1, Own: []string{`\Seen`, "$Later"}}, index.Reader{Account: 2, Own: []string{`\Seen`, "$Later"}}
	var list []index.Message
	for i := range 300 {
		m := newMessage(100)
		switch i % 3 {
		case 0:
			m.Flags = []string{`\Flagged`}
		case 1:
			m.Flags = []string{`\Seen`, `\Flagged`}
		case 2:
			m.Flags = []string{"$Later"}
		}
		list = append(list, m)
	}
	once := index.Once{Operation: index.Operation{7}, Reader: bob}
	// Nothing of it is there unless all is: in a mailbox without room for another keyword the flags fail, after the entries.
	if _, _, err := s.Mailboxes.Create(ctx, owner, "full", ""); err != nil {
		t.Fatal(err)
	}
	m := newMessage(100)
	for i := range mailbox.MaxKeywords {
		m.Flags = append(m.Flags, fmt.Sprintf("k%d", i))
	}
	s.append(t, owner, "full", m)
	if _, err := s.Mailboxes.AppendOnce(ctx, owner, "full", list, index.Once{Operation: index.Operation{8}, Reader: bob}); !errors.Is(err, index.ErrKeywords) {
		t.Errorf("without room for a keyword: %v, want ErrKeywords", err)
	}
	if m := s.find(t, owner, "full"); m.Messages != 1 || m.UIDNext != 2 {
		t.Errorf("without room for a keyword: %+v", m)
	}
	var before []string
	for range 2 {
		r, err := s.Mailboxes.AppendOnce(ctx, owner, index.Inbox, list, once)
		if err != nil || len(r.UIDs) != 300 {
			t.Fatalf("%d UIDs, %v", len(r.UIDs), err)
		}
		got, seqs := s.seenBy(t, owner, box, bob, 0)
		if before != nil && !slices.Equal(got, before) {
			t.Error("a repeat changed flags")
		}
		before = got
		keyword := mailbox.KeywordFlag(0)
		for i, uid := range r.UIDs {
			want := [...]mailbox.Flags{mailbox.Flagged, mailbox.Seen | mailbox.Flagged, keyword}[i%3]
			if got[i+1] != fmt.Sprintf("%d %x", uid, uint64(want)) || seqs[uid] > r.ModSeq {
				t.Fatalf("message %d is %s with MODSEQ %d of %d, want flags %x", i, got[i+1], seqs[uid], r.ModSeq, want)
			}
		}
		for _, other := range []index.Reader{carol, {}} {
			got, _ := s.seenBy(t, owner, box, other, 0)
			for i, uid := range r.UIDs {
				want := [...]mailbox.Flags{mailbox.Flagged, mailbox.Flagged, 0}[i%3]
				if got[i+1] != fmt.Sprintf("%d %x", uid, uint64(want)) {
					t.Fatalf("for %d message %d is %s, want flags %x", other.Account, i, got[i+1], want)
				}
			}
		}
		if m := s.find(t, owner, index.Inbox); m.Unseen != 301 {
			t.Errorf("%d unseen for the owner", m.Unseen)
		}
	}
}

// copyOwnFlags: who copies has his own flags on the copies in the same step, and sets none there that he may not.
func copyOwnFlags(t *testing.T, s Subject) {
	const owner = 31
	ctx := t.Context()
	bob := index.Reader{Account: 1, Own: []string{`\Seen`, "$Later"}}
	box := s.append(t, owner, index.Inbox, newMessage(100, `\Seen`, "$Work"), newMessage(100, `\Deleted`), newMessage(100)).Mailbox
	for _, name := range []string{"Team", "Moved", "Full"} {
		if _, _, err := s.Mailboxes.Create(ctx, owner, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	full := newMessage(100)
	for i := range mailbox.MaxKeywords {
		full.Flags = append(full.Flags, fmt.Sprintf("k%d", i))
	}
	s.append(t, owner, "Full", full)
	for uid, flag := range map[mailbox.UID]string{2: `\Seen`, 3: "$Later"} {
		if _, err := s.Mailboxes.Flag(ctx, index.FlagChange{Account: owner, Mailbox: box, UIDs: one(uid), Mode: index.AddFlags, Flags: []string{flag}, Reader: bob}); err != nil {
			t.Fatal(err)
		}
	}
	// Nothing of it is there unless all is.
	s.FailAt(func(step string) error {
		if step == "copy.before-own" {
			return errors.New("lost")
		}
		return nil
	})
	c := index.Copying{Account: owner, Source: box, UIDs: all, Target: "Team", Reader: bob}
	if _, err := s.Mailboxes.CopyBy(ctx, c); err == nil {
		t.Error("no error")
	}
	s.FailAt(func(string) error { return nil })
	if m := s.find(t, owner, "Team"); m.Messages != 0 {
		t.Errorf("half a copy: %+v", m)
	}
	wants := func(what string, r index.Reader, want ...mailbox.Flags) {
		t.Helper()
		m := s.find(t, owner, c.Target)
		list, seqs := s.seenBy(t, owner, m.ID, r, 0)
		for i, f := range want {
			uid := m.UIDNext - mailbox.UID(len(want)-i)
			if got := list[len(list)-len(want)+i]; got != fmt.Sprintf("%d %x", uid, uint64(f)) || seqs[uid] > m.HighestModSeq {
				t.Errorf("%s: %s, MODSEQ %d of %d, want %d %x", what, got, seqs[uid], m.HighestModSeq, uid, uint64(f))
			}
		}
	}
	work, later := mailbox.KeywordFlag(0), mailbox.KeywordFlag(1)
	do := func() {
		t.Helper()
		if r, err := s.Mailboxes.CopyBy(ctx, c); err != nil || r.Copies.Len() != 3 || r.ModSeq != s.find(t, owner, c.Target).HighestModSeq {
			t.Errorf("CopyBy: %+v, %v", r, err)
		}
	}
	do()
	wants("bob copied", bob, work, mailbox.Seen|mailbox.Deleted, later)
	wants("the owner sees", index.Reader{}, mailbox.Seen|work, mailbox.Deleted, 0)
	c.Deny = mailbox.Seen | mailbox.Deleted
	do()
	wants("bob copied without rights", bob, work, 0, later)
	wants("the owner sees without rights", index.Reader{}, work, 0, 0)
	// A keyword without room is not left out, of the reader as of the owner.
	c.Target, c.Deny = "Full", 0
	for _, c.UIDs = range []mailbox.UIDSet{one(1), one(3)} {
		if _, err := s.Mailboxes.CopyBy(ctx, c); !errors.Is(err, index.ErrKeywords) {
			t.Errorf("into a mailbox without room, of %v: %v, want ErrKeywords", c.UIDs, err)
		}
	}
	if m := s.find(t, owner, "Full"); m.Messages != 1 {
		t.Errorf("the target has %d messages, want 1", m.Messages)
	}
	c.UIDs = one(2)
	if _, err := s.Mailboxes.CopyBy(ctx, c); err != nil {
		t.Errorf("without keywords: %v", err)
	}
	c.Target, c.Move, c.UIDs = "Moved", true, all
	do()
	wants("bob moved", bob, work, mailbox.Seen|mailbox.Deleted, later)
	if m := s.find(t, owner, index.Inbox); m.Messages != 0 {
		t.Errorf("after the move: %+v", m)
	}
}
