package indextest

import (
	"reflect"

	"pgregory.net/rapid"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func (m *model) copy(t *rapid.T) {
	_, from := m.box(t)
	name, to := m.box(t)
	set := from.uids(t)
	r, err := m.s.Mailboxes.Copy(t.Context(), m.account, from.id, set, name)
	if err != nil {
		t.Fatalf("Copy: %v", err)
	}
	m.copied(t, from, to, set, r)
}

func (m *model) move(t *rapid.T) {
	_, from := m.box(t)
	name, to := m.box(t)
	set := from.uids(t)
	r, err := m.s.Mailboxes.Move(t.Context(), m.account, from.id, set, name)
	if err != nil {
		t.Fatalf("Move: %v", err)
	}
	for _, uid := range m.copied(t, from, to, set, r) {
		delete(from.entries, uid)
		from.highest = m.seq
	}
}

// copied accounts for a copy and returns the UIDs that were copied.
func (m *model) copied(t *rapid.T, from, to *modelBox, set mailbox.UIDSet, r index.CopyResult) []mailbox.UID {
	source := from.in(set)
	if len(source) > 0 {
		m.seq++
	}
	var wantSource, wantCopies mailbox.UIDSet
	for _, uid := range source {
		wantSource = wantSource.Add(uid)
		wantCopies = wantCopies.Add(m.add(to, from.entries[uid]))
	}
	if !reflect.DeepEqual(r.Source, wantSource) || !reflect.DeepEqual(r.Copies, wantCopies) || r.ModSeq != m.seq || r.Target != to.id || r.UIDValidity != to.validity {
		t.Fatalf("got %+v, want %v to %v at MODSEQ %d", r, wantSource, wantCopies, m.seq)
	}
	return source
}

func (m *model) expunge(t *rapid.T) {
	_, b := m.box(t)
	set, force := b.uids(t), rapid.Bool().Draw(t, "force")
	r, err := m.s.Mailboxes.Expunge(t.Context(), m.account, b.id, set, force)
	if err != nil {
		t.Fatalf("Expunge: %v", err)
	}
	var want mailbox.UIDSet
	for _, uid := range b.in(set) {
		if force || hasFlag(b.entries[uid].flags, `\Deleted`) {
			want = want.Add(uid)
			delete(b.entries, uid)
		}
	}
	if len(want) > 0 {
		m.seq++
		b.highest = m.seq
	}
	if !reflect.DeepEqual(r.Expunged, want) || r.ModSeq != m.seq {
		t.Fatalf("got %+v, want %v at MODSEQ %d", r, want, m.seq)
	}
}

// session brings a client's view up to date by MODSEQ, and compares it with the model entry by entry.
func (m *model) session(t *rapid.T) {
	name, b := m.box(t)
	since := mailbox.ModSeq(0)
	if b.session == nil || rapid.IntRange(0, 9).Draw(t, "anew") == 0 {
		b.session = &view{}
	} else {
		since = b.session.mailbox.HighestModSeq
	}
	if err := m.s.update(t.Context(), m.account, b.id, since, b.session); err != nil {
		t.Fatalf("Snapshot of %s since %d: %v", name, since, err)
	}
	entries := b.session.entries()
	if len(entries) != len(b.entries) {
		t.Fatalf("%s since %d: %d entries, want %d", name, since, len(entries), len(b.entries))
	}
	for _, got := range entries {
		want, ok := b.entries[got.UID]
		if flags := joinFlags(got.Flags.Names(b.session.mailbox.Keywords)); !ok || flags != want.flags || got.ModSeq != want.seq || got.Size != want.size ||
			want.email != 0 && got.Email != want.email {
			t.Fatalf("%s since %d: got %+v with %s, want %+v", name, since, got, flags, want)
		}
		want.email = got.Email // which must stay the same from now on
		b.entries[got.UID] = want
	}
}
