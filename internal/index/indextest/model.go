package indextest

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// model is an account as it must be, in plain maps.
type model struct {
	s       Subject
	account mailbox.AccountID
	seq     mailbox.ModSeq
	boxes   map[string]*modelBox
	// emails is how many emails there are, delivered those deliveries that were.
	delivered map[int]index.DeliverResult
	work      []index.Delivery
	failAt    string
}

type modelBox struct {
	id       mailbox.ID
	validity mailbox.UIDValidity
	next     mailbox.UID
	highest  mailbox.ModSeq
	entries  map[mailbox.UID]modelEntry
	// session is a view that is brought up to date now and then.
	session *view
}

type modelEntry struct {
	flags  string // sorted names
	seq    mailbox.ModSeq
	email  mailbox.EmailID
	size   int64
	unseen bool
}

// randomHistories runs random calls against the implementation and the model.
func randomHistories(t *testing.T, s Subject) {
	account := mailbox.AccountID(100)
	rapid.Check(t, func(t *rapid.T) {
		account++
		m := newModel(t, s, account)
		s.FailAt(func(step string) error {
			if m.failAt != "" && step == m.failAt {
				return fmt.Errorf("lost at %s", step)
			}
			return nil
		})
		t.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"append":  m.append,
			"deliver": m.deliver,
			"fail":    m.fail,
			"flag":    m.flag,
			"copy":    m.copy,
			"move":    m.move,
			"expunge": m.expunge,
			"create":  m.create,
			"delete":  m.delete,
			"rename":  m.rename,
			"session": m.session,
		})
	})
}

func newModel(t *rapid.T, s Subject, account mailbox.AccountID) *model {
	m := &model{s: s, account: account, boxes: map[string]*modelBox{}, delivered: map[int]index.DeliverResult{}}
	list, seq, err := s.Mailboxes.List(t.Context(), account)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	m.seq = seq
	for i := range list {
		m.adopt(&list[i])
	}
	return m
}

func (m *model) adopt(b *index.Mailbox) {
	m.boxes[b.Name] = &modelBox{id: b.ID, validity: b.UIDValidity, next: b.UIDNext, highest: b.HighestModSeq, entries: map[mailbox.UID]modelEntry{}}
}

// check compares everything that List and Counters tell.
func (m *model) check(t *rapid.T) {
	list, seq, err := m.s.Mailboxes.List(t.Context(), m.account)
	if err != nil || seq != m.seq {
		t.Fatalf("List: MODSEQ %d, want %d; %v", seq, m.seq, err)
	}
	found := 0
	for _, got := range list {
		if got.ID == 0 {
			continue
		}
		found++
		b := m.boxes[got.Name]
		if b == nil || b.id != got.ID {
			t.Fatalf("%s is %d, want %+v", got.Name, got.ID, b)
		}
		var want index.Mailbox
		for _, e := range b.entries {
			want.Messages++
			want.Size += e.size
			if e.unseen {
				want.Unseen++
			}
			if hasFlag(e.flags, `\Deleted`) {
				want.Deleted++
			}
		}
		if got.Messages != want.Messages || got.Size != want.Size || got.Unseen != want.Unseen || got.Deleted != want.Deleted ||
			got.UIDNext != b.next || got.HighestModSeq != b.highest || got.UIDValidity != b.validity {
			t.Fatalf("%s: got %+v, want %+v and %+v", got.Name, got, want, b)
		}
	}
	if found != len(m.boxes) {
		t.Fatalf("%d mailboxes, want %d", found, len(m.boxes))
	}
}

func hasFlag(flags, name string) bool {
	return slices.Contains(splitFlags(flags), name)
}

func (m *model) box(t *rapid.T) (string, *modelBox) {
	name := rapid.SampledFrom(m.names()).Draw(t, "mailbox")
	return name, m.boxes[name]
}

func (m *model) names() (list []string) {
	for name := range m.boxes {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// uids draws a set about the mailbox's UIDs, present or not.
func (b *modelBox) uids(t *rapid.T) mailbox.UIDSet {
	var ranges []mailbox.UIDRange
	for range rapid.IntRange(1, 12).Draw(t, "ranges") {
		from := mailbox.UID(rapid.Uint32Range(1, uint32(b.next)+2).Draw(t, "from"))
		ranges = append(ranges, mailbox.UIDRange{First: from, Last: from + mailbox.UID(rapid.Uint32Range(0, 300).Draw(t, "more"))})
	}
	return mailbox.NewUIDSet(ranges...)
}

// in are the mailbox's UIDs that are in set, ascending.
func (b *modelBox) in(set mailbox.UIDSet) (list []mailbox.UID) {
	for uid := range b.entries {
		if set.Contains(uid) {
			list = append(list, uid)
		}
	}
	slices.Sort(list)
	return list
}

var flagPool = []string{`\Seen`, `\Deleted`, `\Flagged`, "work", "$Junk", "todo"}

func drawFlags(t *rapid.T) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(flagPool), 0, 3, rapid.ID[string]).Draw(t, "flags")
}

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
	m.failAt = rapid.SampledFrom([]string{"deliver.before-ledger-read", "deliver.before-placements", "deliver.before-entries",
		"deliver.before-dedupe", "deliver.before-outbox", "deliver.before-final", "deliver.before-commit"}).Draw(t, "step")
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
