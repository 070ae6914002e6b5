package indextest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

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
