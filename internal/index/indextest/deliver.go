package indextest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// state fails the test unless a recipient's state is as wanted.
func (s *Subject) state(t *testing.T, d index.Delivery, want storev1.State) {
	t.Helper()
	if got, err := s.State(d.QueueID, d.Number); err != nil || got != want {
		t.Errorf("ledger says %v, %v; want %v", got, err, want)
	}
}

// sameEffect tells whether a repeat told what the first call did.
func sameEffect(first, repeat index.DeliverResult) bool {
	return repeat.Status == index.Duplicate && repeat.Email == first.Email && repeat.Mailbox == first.Mailbox && repeat.UID == first.UID &&
		len(repeat.Changed) == 0
}

func deliver(t *testing.T, s Subject) {
	var list []index.Delivery
	for i := range 100 { // to 10 accounts, interleaved
		list = append(list, s.newDelivery(t, mailbox.AccountID(1+i%10)))
	}
	results := s.deliver(t, list...)
	next := map[mailbox.AccountID]mailbox.UID{}
	for i, r := range results {
		if r.Status != index.Delivered || r.Email == 0 || r.UID == 0 || !reflect.DeepEqual(r.Changed, []mailbox.ID{r.Mailbox}) {
			t.Errorf("delivery %d: %+v", i, r)
		}
		next[list[i].Account]++
		s.state(t, list[i], storev1.State_STATE_DELIVERED)
	}
	for a := mailbox.AccountID(1); a <= 10; a++ {
		m := s.find(t, a, "INBOX")
		v := s.look(t, a, m.ID)
		if m.Messages != 10 || m.Unseen != 10 || m.Size != 10_000 || m.UIDNext != 11 || len(v.entries()) != 10 {
			t.Errorf("account %d: %+v, %d entries", a, m, len(v.entries()))
		}
		for i, r := range results {
			if list[i].Account != a {
				continue
			}
			if e := v.entries()[r.UID-1]; e.Email != r.Email || e.Received != list[i].Received.Unix() || e.ModSeq != r.ModSeq {
				t.Errorf("account %d: %+v filed as %+v", a, r, e)
			}
		}
	}
	for i, r := range s.deliver(t, list...) {
		if !sameEffect(results[i], r) {
			t.Errorf("repeat of %d: %+v, first %+v", i, r, results[i])
		}
	}
	if m := s.find(t, 1, "INBOX"); m.Messages != 10 || m.HighestModSeq != results[0].ModSeq {
		t.Errorf("the repeat changed something: %+v", m)
	}
	if r, err := s.Mailboxes.Deliver(t.Context(), nil); err != nil || len(r) != 0 {
		t.Errorf("nothing: %v, %v", r, err)
	}
}

func deliverPlacements(t *testing.T, s Subject) {
	d := s.newDelivery(t, 7,
		index.Placement{SpecialUse: `\Junk`, Flags: []string{"$Junk"}},
		index.Placement{Name: "lists/go", Create: true, Flags: []string{`\Seen`}},
		index.Placement{Name: "nowhere"},
		index.Placement{Name: "lists/go", Flags: []string{`\Flagged`}},
	)
	d.Children = []*mailv1.Accepted{{QueueId: childID(d, 0)}, {QueueId: childID(d, 1)}}
	r := s.deliver(t, d)[0]
	if r.Status != index.Delivered || len(r.Changed) != 3 {
		t.Fatalf("got %+v", r)
	}
	for name, want := range map[string][]string{"Junk": {"$Junk"}, "lists/go": {`\Seen`, `\Flagged`}, "INBOX": nil} {
		v := s.look(t, 7, s.find(t, 7, name).ID)
		if len(v.entries()) != 1 {
			t.Errorf("%s has %d entries", name, len(v.entries()))
			continue
		}
		e := v.entries()[0]
		if got := e.Flags.Names(v.mailbox.Keywords); !reflect.DeepEqual(got, want) || e.Email != r.Email {
			t.Errorf("%s: email %d with %q, want %d with %q", name, e.Email, got, r.Email, want)
		}
		if name == "Junk" && (v.mailbox.ID != r.Mailbox || e.UID != r.UID) {
			t.Errorf("first placement: %+v", r)
		}
	}
	if n, err := s.Children(d.QueueID); err != nil || n != 2 {
		t.Errorf("%d children, %v", n, err)
	}
	// A special use whose mailbox is gone.
	if _, err := s.Mailboxes.Delete(t.Context(), 7, "Junk"); err != nil {
		t.Fatal(err)
	}
	r = s.deliver(t, s.newDelivery(t, 7, index.Placement{SpecialUse: `\Junk`}))[0]
	if r.Status != index.Delivered || r.Mailbox != s.find(t, 7, "INBOX").ID {
		t.Errorf("without create: %+v", r)
	}
	r = s.deliver(t, s.newDelivery(t, 7, index.Placement{SpecialUse: `\Junk`, Create: true}))[0]
	if m := s.find(t, 7, "Junk"); r.Status != index.Delivered || r.Mailbox != m.ID || m.SpecialUse != `\Junk` {
		t.Errorf("with create: %+v, %+v", r, m)
	}
}

func childID(d index.Delivery, ordinal uint32) []byte {
	id := envelope.ChildID(d.QueueID, d.Number, ordinal)
	return id[:]
}

func deliverStale(t *testing.T, s Subject) {
	for _, tt := range []struct {
		name   string
		change func(*index.Delivery)
		want   index.DeliverStatus
	}{
		{"bounced", func(d *index.Delivery) { s.route(t, *d, storev1.State_STATE_BOUNCED) }, index.Stale},
		{"held", func(d *index.Delivery) { s.route(t, *d, storev1.State_STATE_HELD) }, index.Stale},
		{"dead", func(d *index.Delivery) { s.route(t, *d, storev1.State_STATE_DEAD) }, index.Stale},
		{"delivered elsewhere", func(d *index.Delivery) { s.route(t, *d, storev1.State_STATE_DELIVERED) }, index.Stale},
		{"older generation", func(d *index.Delivery) { d.Generation-- }, index.Stale},
		{"newer generation", func(d *index.Delivery) { d.Generation++ }, index.Stale},
		{"another account", func(d *index.Delivery) { d.Account++ }, index.Stale},
		{"unknown number", func(d *index.Delivery) { d.Number = 4 }, index.Failed},
		{"unknown queue id", func(d *index.Delivery) { d.QueueID[7] ^= 1 }, index.Failed},
		{"as it is", func(*index.Delivery) {}, index.Delivered},
	} {
		d := s.newDelivery(t, 7)
		d.Children = []*mailv1.Accepted{{QueueId: childID(d, 0)}}
		tt.change(&d)
		before := s.find(t, 7, "INBOX")
		r := s.deliver(t, d)[0]
		if r.Status != tt.want || (r.Status == index.Failed) != (r.Err != nil) {
			t.Errorf("%s: %+v, want %v", tt.name, r, tt.want)
		}
		after := s.find(t, 7, "INBOX")
		if changed := !reflect.DeepEqual(before, after); changed != (tt.want == index.Delivered) {
			t.Errorf("%s: %+v, was %+v", tt.name, after, before)
		}
		if n, err := s.Children(d.QueueID); err != nil || (n > 0) != (tt.want == index.Delivered) {
			t.Errorf("%s: %d children, %v", tt.name, n, err)
		}
	}
	// Delivered before, whatever the ledger has come to since.
	d := s.newDelivery(t, 7)
	first := s.deliver(t, d)[0]
	d.Generation += 5
	if r := s.deliver(t, d)[0]; !sameEffect(first, r) {
		t.Errorf("with another generation: %+v, first %+v", r, first)
	}
	d.Generation -= 5
	s.route(t, d, storev1.State_STATE_QUEUED) // as where the final state was not yet written
	if r := s.deliver(t, d)[0]; !sameEffect(first, r) {
		t.Errorf("queued again: %+v, first %+v", r, first)
	}
	s.state(t, d, storev1.State_STATE_DELIVERED)
}

func deliverOverQuota(t *testing.T, s Subject) {
	var list []index.Message
	for range 1000 {
		list = append(list, newMessage(200))
	}
	box := s.append(t, 7, "INBOX", list...).Mailbox
	n := int64(1000)
	for n < s.QuotaMessages {
		part := mailbox.UIDSet{{First: 1, Last: mailbox.UID(min(n, s.QuotaMessages-n))}}
		r, err := s.Mailboxes.Copy(t.Context(), 7, box, part, "INBOX")
		if err != nil {
			t.Fatal(err)
		}
		n += int64(r.Copies.Len())
	}
	full, other := s.newDelivery(t, 7), s.newDelivery(t, 8)
	results := s.deliver(t, full, other)
	if results[0].Status != index.OverQuota || results[1].Status != index.Delivered {
		t.Errorf("got %+v", results)
	}
	s.state(t, full, storev1.State_STATE_QUEUED)
	if _, err := s.Mailboxes.Expunge(t.Context(), 7, box, one(1), true); err != nil {
		t.Fatal(err)
	}
	if r := s.deliver(t, full)[0]; r.Status != index.Delivered {
		t.Errorf("with room again: %+v", r)
	}
}

func deliverRepeated(t *testing.T, s Subject) {
	a, b := s.newDelivery(t, 7), s.newDelivery(t, 7)
	results := s.deliver(t, a, b, a, a)
	if results[0].Status != index.Delivered || results[1].Status != index.Delivered || !sameEffect(results[0], results[2]) || !sameEffect(results[0], results[3]) {
		t.Errorf("got %+v", results)
	}
	if m := s.find(t, 7, "INBOX"); m.Messages != 2 {
		t.Errorf("%d messages", m.Messages)
	}
}

// deliverFails lets the write fail at every step, and then succeed.
func deliverFails(t *testing.T, s Subject) {
	list := []index.Delivery{s.newDelivery(t, 7), s.newDelivery(t, 8, index.Placement{Name: "new", Create: true}), s.newDelivery(t, 7)}
	list[0].Children = []*mailv1.Accepted{{QueueId: childID(list[0], 0)}}
	var steps []string
	s.FailAt(func(step string) error {
		if !slices.Contains(steps, step) {
			steps = append(steps, step)
			return fmt.Errorf("lost at %s", step)
		}
		return nil
	})
	rounds := 0
	for ; ; rounds++ {
		results, err := s.Mailboxes.Deliver(t.Context(), list)
		if err == nil && !slices.ContainsFunc(results, func(r index.DeliverResult) bool { return r.Status == index.Failed }) {
			break
		}
		if rounds > 100 {
			t.Fatalf("never delivered: %+v, %v", results, err)
		}
	}
	if len(steps) < 6 {
		t.Errorf("failed only at %v", steps)
	}
	s.FailAt(func(string) error { return nil })
	for _, d := range list {
		s.state(t, d, storev1.State_STATE_DELIVERED)
	}
	if m := s.find(t, 7, "INBOX"); m.Messages != 2 || m.UIDNext != 3 {
		t.Errorf("account 7: %+v", m)
	}
	if m := s.find(t, 8, "new"); m.Messages != 1 || m.UIDNext != 2 {
		t.Errorf("account 8: %+v", m)
	}
	if n, err := s.Children(list[0].QueueID); err != nil || n != 1 {
		t.Errorf("%d children, %v", n, err)
	}

	// A write that never gets through leaves nothing, and tells so.
	bad := errors.New("no")
	s.FailAt(func(step string) error { return bad })
	d := s.newDelivery(t, 7)
	if r, err := s.Mailboxes.Deliver(t.Context(), []index.Delivery{d, d}); err == nil && (r[0].Status != index.Failed || !errors.Is(r[0].Err, bad)) {
		t.Errorf("got %+v", r)
	}
	s.FailAt(func(string) error { return nil })
	s.state(t, d, storev1.State_STATE_QUEUED)
	if m := s.find(t, 7, "INBOX"); m.Messages != 2 || m.UIDNext != 3 {
		t.Errorf("left something: %+v", m)
	}
}

// deliverAtOnce has many callers with the same work.
func deliverAtOnce(t *testing.T, s Subject) {
	var list []index.Delivery
	for i := range 40 {
		list = append(list, s.newDelivery(t, mailbox.AccountID(1+i%4)))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	delivered := map[envelope.QueueID]int{}
	for range 8 {
		wg.Go(func() {
			results, err := s.Mailboxes.Deliver(t.Context(), list)
			if err != nil {
				t.Errorf("Deliver: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for i, r := range results {
				if r.Status == index.Delivered {
					delivered[list[i].QueueID]++
				} else if r.Status != index.Duplicate {
					t.Errorf("delivery %d: %+v", i, r)
				}
			}
		})
	}
	wg.Wait()
	for _, d := range list {
		if delivered[d.QueueID] != 1 {
			t.Errorf("%s delivered %d times", d.QueueID, delivered[d.QueueID])
		}
	}
	for a := mailbox.AccountID(1); a <= 4; a++ {
		if m := s.find(t, a, "INBOX"); m.Messages != 10 {
			t.Errorf("account %d has %d messages", a, m.Messages)
		}
	}
}
