package ledgertest

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func testRecord(t *testing.T, open Open) {
	t.Run("what was recorded is loaded", func(t *testing.T) {
		f := start(t, open)
		early := f.clock.Now().Add(3 * time.Second).UnixNano()
		late := Remote("d@far.example")
		late.DueNs = f.clock.Now().Add(2 * Expiry).UnixNano()
		soon := Local("b@example.org", 1<<62)
		soon.DueNs, soon.Detail, soon.Notify, soon.Orcpt, soon.Original = early, "lists", 6, "rfc822;x", "all@example.org"
		m := f.message(Local("a@example.org", 7), soon, Settled("c@example.org", storev1.State_STATE_BOUNCED), late,
			Settled("e@example.org", storev1.State_STATE_QUARANTINED))
		got := f.record(m)[0]
		e := f.load(m.Message.QueueId)
		if !got.Recorded || got.Conflict || len(got.Recipients) != 5 {
			t.Fatalf("record: got %v", got)
		}
		want := proto.Clone(m.Message).(*mailv1.Accepted)
		want.PartIndex = nil // it stands in the frame's tail
		if !proto.Equal(e.Message, want) {
			t.Errorf("message: got %v, want %v", e.Message, want)
		}
		if e.RecordedNs != f.clock.Now().UnixNano() {
			t.Errorf("recorded at %d, want now", e.RecordedNs)
		}
		dues := []int64{f.clock.Now().Add(ledger.FirstDue).UnixNano(), early, 0, f.clock.Now().Add(Expiry).UnixNano(), 0}
		for i, r := range e.Recipients {
			want := proto.Clone(m.Recipients[i]).(*storev1.RecipientRow)
			want.DueNs, want.ChangedNs = dues[i], f.clock.Now().UnixNano()
			if !proto.Equal(r, want) || !proto.Equal(got.Recipients[i], want) {
				t.Errorf("recipient %d: loaded %v, recorded %v, want %v", i, r, got.Recipients[i], want)
			}
		}
	})
	t.Run("a repeat changes nothing and tells what stands", func(t *testing.T) {
		f := start(t, open)
		m := f.message(Local("a@example.org", 7), Local("b@example.org", 8))
		both := f.record(m, m)
		if !both[0].Recorded || both[1].Recorded || both[1].Conflict {
			t.Fatalf("twice in a batch: got %v", both)
		}
		id := m.Message.QueueId
		if !f.report(&storev1.Report{QueueId: id, Outcomes: []*storev1.Outcome{outcome(1, storev1.State_STATE_DISCARDED, "250 gone", time.Time{})}}) {
			t.Fatal("report was refused")
		}
		again := f.record(m)[0]
		if again.Recorded || again.Conflict || len(again.Recipients) != 2 || again.Recipients[1].State != storev1.State_STATE_DISCARDED {
			t.Errorf("got %v, want the rows as they stand", again)
		}
	})
	t.Run("an accepted id with another blob is a conflict, a generated one keeps the first", func(t *testing.T) {
		f := start(t, open)
		for _, row := range []struct {
			kind     mailv1.Kind
			conflict bool
		}{{mailv1.Kind_KIND_ACCEPTED, true}, {mailv1.Kind_KIND_GENERATED, false}} {
			m := f.message(Local("a@example.org", 7))
			m.Message.Envelope.Kind = row.kind
			first := m.Message.BlobId
			f.record(m)
			m.Message.BlobId = blob.ID{Incarnation: 9, Length: 1}.Bytes()
			got := f.record(m)[0]
			if got.Recorded || got.Conflict != row.conflict || (len(got.Recipients) == 1) == row.conflict {
				t.Errorf("%v: got %v, want conflict %t", row.kind, got, row.conflict)
			}
			if e := f.load(m.Message.QueueId); string(e.Message.BlobId) != string(first) {
				t.Errorf("%v: got blob %x, want the first", row.kind, e.Message.BlobId)
			}
		}
	})
	t.Run("what would lose a recipient is refused", func(t *testing.T) {
		f := start(t, open)
		for name, spoil := range map[string]func(*storev1.Routed){
			"no row for a recipient": func(m *storev1.Routed) { m.Recipients = m.Recipients[:1] },
			"a number twice":         func(m *storev1.Routed) { m.Recipients[1].Number = 0 },
			"queued for nowhere":     func(m *storev1.Routed) { m.Recipients[1].Account = 0 },
			"no state":               func(m *storev1.Routed) { m.Recipients[1].State = 0 },
			"no envelope":            func(m *storev1.Routed) { m.Message.Envelope = nil },
			"short id":               func(m *storev1.Routed) { m.Message.QueueId = []byte("short") },
			"no blob":                func(m *storev1.Routed) { m.Message.BlobId = nil },
			"child without id":       func(m *storev1.Routed) { m.Children = []*mailv1.Accepted{{}} },
		} {
			good := f.message(Local("z@example.org", 1))
			m := f.message(Local("a@example.org", 7), Local("b@example.org", 8))
			spoil(m)
			if _, err := f.l.Record(f.ctx, []*storev1.Routed{good, m}); !errors.Is(err, ledger.ErrInvalid) {
				t.Errorf("%s: got %v, want ErrInvalid", name, err)
			}
			if e := f.load(good.Message.QueueId); e.Message != nil {
				t.Errorf("%s: the rest of the batch was recorded", name)
			}
		}
	})
	t.Run("children enter the outbox once", func(t *testing.T) {
		f := start(t, open)
		m := f.message(Settled("a@example.org", storev1.State_STATE_BOUNCED))
		m.Children = []*mailv1.Accepted{Child(m, 0), Child(m, 1)}
		f.record(m, m)
		if got := f.outbox(); len(got) != 2 {
			t.Errorf("got %d children, want 2", len(got))
		}
	})
	t.Run("unknown messages are empty entries, in order", func(t *testing.T) {
		f := start(t, open)
		var ids [][]byte
		for i := range 150 {
			if m := f.message(Local("a@example.org", 7)); i%3 == 0 {
				ids = append(ids, m.Message.QueueId)
			} else {
				ids = append(ids, f.put(Local("a@example.org", 7)))
			}
		}
		entries, err := f.l.Load(f.ctx, ids)
		if err != nil {
			t.Fatal(err)
		}
		known, err := f.l.Known(f.ctx, ids)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range entries {
			if (i%3 == 0) != (e.Message == nil) || known[i].Found != (i%3 != 0) || i%3 != 0 && string(e.Message.QueueId) != string(ids[i]) {
				t.Fatalf("entry %d: got %v, known %v", i, e, known[i])
			}
		}
	})
}
