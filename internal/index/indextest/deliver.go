package indextest

import (
	"reflect"
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
