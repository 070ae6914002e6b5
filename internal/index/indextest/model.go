package indextest

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
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

// shortHistories is how many histories run with -short.
const shortHistories = 15

// randomHistories runs random calls against the implementation and the model.
func randomHistories(t *testing.T, s Subject) {
	account := mailbox.AccountID(100)
	rapid.Check(t, func(t *rapid.T) {
		if account++; testing.Short() && account > 100+shortHistories {
			return
		}
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
	// What a recount finds is what was counted on the way.
	if rapid.IntRange(0, 9).Draw(t, "recount") == 0 {
		list, err := m.s.Quotas.Recount(t.Context(), m.account)
		if err != nil || len(list) > 0 {
			t.Fatalf("Recount: %+v, %v", list, err)
		}
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
