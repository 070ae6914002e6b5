package indextest

import (
	"cmp"
	"errors"
	"reflect"
	"slices"

	"pgregory.net/rapid"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func (m *model) append(t *rapid.T) {
	name, b := m.box(t)
	var list []index.Message
	for range rapid.SampledFrom([]int{1, 1, 2, 40, 300}).Draw(t, "messages") {
		list = append(list, newMessage(rapid.Int64Range(100, 5000).Draw(t, "size"), drawFlags(t)...))
	}
	r := m.s.append(t, m.account, name, list...)
	m.seq++
	if r.ModSeq != m.seq || r.Mailbox != b.id || r.UIDValidity != b.validity {
		t.Fatalf("got %+v, want MODSEQ %d", r, m.seq)
	}
	for i, uid := range r.UIDs {
		if uid != b.next {
			t.Fatalf("UID %d, want %d", uid, b.next)
		}
		m.add(b, modelEntry{flags: joinFlags(list[i].Flags), size: list[i].VisibleSize()})
	}
}

// add puts an entry at the end.
func (m *model) add(b *modelBox, e modelEntry) mailbox.UID {
	uid := b.next
	e.seq, e.unseen = m.seq, !hasFlag(e.flags, `\Seen`)
	b.entries[uid] = e
	b.next++
	b.highest = m.seq
	return uid
}

// deliver hands in a batch of new work and old.
func (m *model) deliver(t *rapid.T) {
	var batch []int
	for range rapid.IntRange(1, 4).Draw(t, "new") {
		name, _ := m.box(t)
		batch = append(batch, len(m.work))
		m.work = append(m.work, m.s.newDelivery(t, m.account, index.Placement{Name: name, Flags: drawFlags(t)}))
	}
	for range rapid.IntRange(0, 3).Draw(t, "old") {
		batch = append(batch, rapid.IntRange(0, len(m.work)-1).Draw(t, "which"))
	}
	var list []index.Delivery
	for _, i := range batch {
		list = append(list, m.work[i])
	}
	results, err := m.s.Mailboxes.Deliver(t.Context(), list)
	if m.failAt != "" {
		for _, r := range results {
			if r.Status == index.Delivered {
				t.Fatalf("delivered although it failed at %s: %+v", m.failAt, r)
			}
		}
		m.failAt = ""
		return
	}
	if err != nil {
		t.Fatalf("Deliver: %v", err)
	}
	m.delivery(t, batch, results)
}

// delivery accounts for a batch.
func (m *model) delivery(t *rapid.T, batch []int, results []index.DeliverResult) {
	fresh := false
	for _, i := range batch {
		if _, ok := m.delivered[i]; !ok {
			fresh = true
		}
	}
	if fresh {
		m.seq++
	}
	type filed struct {
		uid mailbox.UID
		i   int
	}
	byBox := map[mailbox.ID][]filed{}
	for n, i := range batch {
		r := results[n]
		if first, ok := m.delivered[i]; ok {
			if !sameEffect(first, r) {
				t.Fatalf("repeat of %d: %+v, first %+v", i, r, first)
			}
			continue
		}
		if r.Status != index.Delivered || r.ModSeq != m.seq {
			t.Fatalf("delivery %d: %+v, want MODSEQ %d", i, r, m.seq)
		}
		m.delivered[i] = r
		byBox[r.Mailbox] = append(byBox[r.Mailbox], filed{r.UID, i})
		if state, err := m.s.State(m.work[i].QueueID, 0); err != nil || state != storev1.State_STATE_DELIVERED {
			t.Fatalf("ledger says %v, %v", state, err)
		}
	}
	for id, list := range byBox {
		// Within a batch an implementation may file in any order.
		slices.SortFunc(list, func(a, b filed) int { return cmp.Compare(a.uid, b.uid) })
		for _, f := range list {
			d := m.work[f.i]
			name := d.Placements[0].Name
			if m.boxes[name] == nil {
				name = index.Inbox // it was deleted or renamed before this try
			}
			b := m.boxes[name]
			if b.id != id || b.next != f.uid {
				t.Fatalf("filed in %d as %d, want %d as %d", id, f.uid, b.id, b.next)
			}
			m.add(b, modelEntry{flags: joinFlags(d.Placements[0].Flags), size: d.VisibleSize(), email: m.delivered[f.i].Email})
		}
	}
}

// fail lets the next delivery's write fail between two steps.
func (m *model) fail(t *rapid.T) {
	steps := []string{"deliver.before-ledger-read", "deliver.before-placements", "deliver.before-entries",
		"deliver.before-dedupe", "deliver.before-outbox", "deliver.before-final", "deliver.before-commit"}
	m.failAt = rapid.SampledFrom(steps).Draw(t, "step")
	m.deliver(t)
}

func (m *model) flag(t *rapid.T) {
	_, b := m.box(t)
	c := index.FlagChange{Account: m.account, Mailbox: b.id, UIDs: b.uids(t), Flags: drawFlags(t),
		Mode: rapid.SampledFrom([]index.FlagMode{index.AddFlags, index.RemoveFlags, index.ReplaceFlags}).Draw(t, "mode")}
	if c.Conditional = rapid.Bool().Draw(t, "conditional"); c.Conditional {
		c.UnchangedSince = mailbox.ModSeq(rapid.Uint64Range(0, uint64(m.seq)).Draw(t, "since"))
	}
	r, err := m.s.Mailboxes.Flag(t.Context(), c)
	if err != nil {
		t.Fatalf("Flag: %v", err)
	}
	changed := false
	var modified mailbox.UIDSet
	for _, uid := range b.in(c.UIDs) {
		e := b.entries[uid]
		if c.Conditional && e.seq > c.UnchangedSince {
			modified = modified.Add(uid)
			continue
		}
		flags := changeFlags(e.flags, c.Mode, c.Flags)
		if flags == e.flags {
			continue
		}
		if !changed {
			changed = true
			m.seq++
			b.highest = m.seq
		}
		e.flags, e.seq, e.unseen = flags, m.seq, !hasFlag(flags, `\Seen`)
		b.entries[uid] = e
	}
	if r.Changed != changed || r.ModSeq != m.seq || !reflect.DeepEqual(r.Modified, modified) {
		t.Fatalf("got %+v, want changed %v, MODSEQ %d, modified %v", r, changed, m.seq, modified)
	}
}

func (m *model) create(t *rapid.T) {
	name := rapid.SampledFrom([]string{"a", "b", "c", "Sent"}).Draw(t, "name")
	got, seq, err := m.s.Mailboxes.Create(t.Context(), m.account, name, "")
	if m.boxes[name] != nil {
		if !errors.Is(err, index.ErrExists) {
			t.Fatalf("Create(%s): got %v, want ErrExists", name, err)
		}
		return
	}
	if m.seq++; err != nil || seq != m.seq {
		t.Fatalf("Create(%s): MODSEQ %d, want %d; %v", name, seq, m.seq, err)
	}
	for _, b := range m.boxes {
		if got.ID == b.id || got.UIDValidity <= b.validity && b.highest == m.seq {
			t.Fatalf("made %+v beside %+v", got, b)
		}
	}
	m.adopt(&got)
}

func (m *model) delete(t *rapid.T) {
	name, _ := m.box(t)
	seq, err := m.s.Mailboxes.Delete(t.Context(), m.account, name)
	if name == index.Inbox {
		if !errors.Is(err, index.ErrRefused) {
			t.Fatalf("Delete of INBOX: %v", err)
		}
		return
	}
	if m.seq++; err != nil || seq != m.seq {
		t.Fatalf("Delete(%s): MODSEQ %d, want %d; %v", name, seq, m.seq, err)
	}
	delete(m.boxes, name)
}

func (m *model) rename(t *rapid.T) {
	from, b := m.box(t)
	to := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "to")
	seq, err := m.s.Mailboxes.Rename(t.Context(), m.account, from, to)
	if m.boxes[to] != nil {
		if !errors.Is(err, index.ErrExists) {
			t.Fatalf("Rename(%s, %s): got %v, want ErrExists", from, to, err)
		}
		return
	}
	if m.seq++; err != nil || seq != m.seq {
		t.Fatalf("Rename(%s, %s): MODSEQ %d, want %d; %v", from, to, seq, m.seq, err)
	}
	if from != index.Inbox {
		delete(m.boxes, from)
		m.boxes[to] = b
		return
	}
	made := m.s.find(t, m.account, to)
	m.boxes[to] = &modelBox{id: made.ID, validity: made.UIDValidity, next: 1, highest: m.seq, entries: map[mailbox.UID]modelEntry{}}
	for _, uid := range b.in(all) {
		m.add(m.boxes[to], b.entries[uid])
		delete(b.entries, uid)
		b.highest = m.seq
	}
}
