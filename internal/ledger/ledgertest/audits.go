package ledgertest

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// testAudits shows that what audits keep is taken away by whoever changes it, and by nobody else.
func testAudits(t *testing.T, open Open) {
	hours := func(f *fixture) map[int64]ledger.AuditHour {
		f.Helper()
		h, err := f.l.AuditHours(f.ctx)
		if err != nil {
			f.Fatal(err)
		}
		return h
	}
	keep := func(f *fixture, h ledger.AuditHour) {
		f.Helper()
		if err := f.l.KeepHour(f.ctx, h); err != nil {
			f.Fatal(err)
		}
	}
	t.Run("an hour is kept until it changes", func(t *testing.T) {
		for name, change := range map[string]func(f *fixture, m *storev1.Routed){
			"a message recorded late": func(f *fixture, m *storev1.Routed) {
				late := f.message(Local("b@example.org", 1))
				copy(late.Message.QueueId[:6], m.Message.QueueId[:6])
				f.record(late)
			},
			"a message pruned": func(f *fixture, m *storev1.Routed) {
				f.act(&storev1.ActRequest{Action: storev1.Action_ACTION_DELETE, QueueIds: [][]byte{m.Message.QueueId}})
				f.clock.Advance(ledger.PruneAfter)
				rule := ledger.PruneRule{Before: f.clock.Now(), Checkpoints: map[uint64]ledger.Checkpoint{1: {Done: true}}}
				f.clock.Advance(time.Second)
				rule.Before = f.clock.Now()
				if n, _, err := f.l.Prune(f.ctx, rule, 10); n != 1 || err != nil {
					f.Fatalf("got %d pruned, %v; want 1", n, err)
				}
			},
			"a message sent through the router again": func(f *fixture, m *storev1.Routed) {
				if n := f.act(&storev1.ActRequest{Action: storev1.Action_ACTION_RELEASE, QueueIds: [][]byte{m.Message.QueueId}}); n != 1 {
					f.Fatalf("got %d released, want 1", n)
				}
			},
		} {
			f := start(t, open)
			m := f.message(Settled("a@example.org", storev1.State_STATE_QUARANTINED))
			f.record(m)
			hour := ledger.HourOf(envelope.QueueID(m.Message.QueueId))
			f.clock.Advance(3 * ledger.HourOpen)
			f.put(Local("young@example.org", 1))
			if h := hours(f); len(h) != 0 {
				t.Fatalf("%s: got %v before anything was kept", name, h)
			}
			keep(f, ledger.AuditHour{Hour: hour, Unit: []byte("one")})
			keep(f, ledger.AuditHour{Hour: hour, Unit: []byte("two")})
			f.put(Local("young@example.org", 1))
			kept := hours(f)[hour]
			if string(kept.Unit) != "two" || kept.Changed != 0 {
				t.Fatalf("%s: got %+v, want what was kept last", name, kept)
			}
			change(f, m)
			changed := hours(f)[hour]
			if changed.Unit != nil || changed.Changed == 0 {
				t.Errorf("%s: got %+v, want nothing kept of a changed hour", name, changed)
			}
			keep(f, kept)
			if h := hours(f)[hour]; h.Unit != nil {
				t.Errorf("%s: got %+v: what was read before the change was kept", name, h)
			}
			changed.Unit = []byte("three")
			keep(f, changed)
			if h := hours(f)[hour]; string(h.Unit) != "three" {
				t.Errorf("%s: got %+v, want what was read after the change", name, h)
			}
		}
	})
	t.Run("stretches replace what they cover", func(t *testing.T) {
		f := start(t, open)
		at := func(segment, offset uint32) blob.Position {
			return blob.Position{Incarnation: 1 << 63, Segment: segment, Offset: offset}
		}
		stretch := func(from, to blob.Position, unit string) ledger.AuditStretch {
			return ledger.AuditStretch{First: from, End: to, Unit: []byte(unit)}
		}
		put := func(s ...ledger.AuditStretch) {
			t.Helper()
			if err := f.l.KeepStretches(f.ctx, s); err != nil {
				t.Fatal(err)
			}
		}
		want := func(step string, s ...ledger.AuditStretch) {
			t.Helper()
			if got, err := f.l.AuditStretches(f.ctx, 1<<63); err != nil || fmt.Sprint(got) != fmt.Sprint(s) {
				t.Errorf("%s: got %v, %v; want %v", step, got, err, s)
			}
		}
		a, b, c := stretch(at(0, 0), at(1, 50), "a"), stretch(at(1, 50), at(3, 7), "b"), stretch(at(3, 7), at(1<<32-1, 1<<32-1), "c")
		put(a)
		put(b, c)
		put()
		want("kept", a, b, c)
		ab := stretch(a.First, b.End, "ab")
		put(ab)
		want("merged", ab, c)
		if err := f.l.ForgetSegment(f.ctx, 1<<63, 4); err != nil {
			t.Fatal(err)
		}
		want("a segment forgotten", ab)
		if err := f.l.ForgetSegment(f.ctx, 1<<62, 0); err != nil {
			t.Fatal(err)
		}
		want("another incarnation's", ab)
		if err := f.l.ForgetSegment(f.ctx, 1<<63, 3); err != nil {
			t.Fatal(err)
		}
		want("the segment of its end")
	})
	t.Run("the latest report is for all", func(t *testing.T) {
		f := start(t, open)
		if got, err := f.l.LastAudit(f.ctx); err != nil || got.Result != nil || got.Auditor != "" {
			t.Errorf("got %v, %v before the first", got, err)
		}
		for i := range uint64(2) {
			a := ledger.AuditReport{Auditor: fmt.Sprint("store-", i), At: time.Unix(100, int64(i)), Full: time.Unix(50, 0), Result: &storev1.AuditResponse{Delivered: i}}
			if err := f.l.SaveAudit(f.ctx, a); err != nil {
				t.Fatal(err)
			}
			got, err := f.l.LastAudit(f.ctx)
			if err != nil || got.Auditor != a.Auditor || !got.At.Equal(a.At) || !got.Full.Equal(a.Full) || !proto.Equal(got.Result, a.Result) {
				t.Errorf("got %v, %v; want %v", got, err, a)
			}
		}
	})
}
