package store

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/ledgertest"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// deliver files a recipient's copy as delivery-local does.
func (w *world) deliver(m *mailv1.Accepted, number uint32) {
	w.Helper()
	results, err := w.db.Mailboxes().Deliver(w.ctx, []index.Delivery{{
		QueueID: envelope.QueueID(m.QueueId), Number: number, Account: 7,
		Message: index.Message{Blob: must(blob.IDFrom(m.BlobId)), Size: 10, Received: w.clock.Now(), PartIndex: []byte("index")},
	}})
	if err != nil || results[0].Status != index.Delivered {
		w.Fatalf("deliver: %+v, %v", results, err)
	}
}

// spoil changes the database behind the ledger's back.
func (w *world) spoil(query string, args ...any) {
	w.Helper()
	db, err := sql.Open("sqlite", filepath.Join(w.folder, "index.db"))
	if err != nil {
		w.Fatal(err)
	}
	defer db.Close()
	r, err := db.Exec(query, args...)
	if err != nil {
		w.Fatal(err)
	}
	if n, _ := r.RowsAffected(); n == 0 {
		w.Fatalf("%s changed nothing", query)
	}
}

// settled is a world with one message of two recipients, delivered and queued, behind the checkpoint.
func settled(t *testing.T) (*world, *mailv1.Accepted) {
	w := newWorld(t)
	m := w.frame(blob.Accepted, nil, "a@example.org", "b@example.org")
	w.record(m)
	w.deliver(m, 0)
	w.clock.Advance(time.Minute)
	w.recover()
	w.wantAudit(&storev1.AuditResponse{Accepted: 2, Delivered: 1, Queued: 1})
	return w, m
}

func TestAuditFindsWhatIsLost(t *testing.T) {
	for name, row := range map[string]struct {
		spoil   func(*world, *mailv1.Accepted)
		want    *storev1.AuditResponse
		problem string
	}{
		"a message's rows": {func(w *world, m *mailv1.Accepted) {
			w.spoil("DELETE FROM recipient")
			w.spoil("DELETE FROM message")
		}, &storev1.AuditResponse{Accepted: 2, Unaccounted: 2}, "behind recovery's checkpoint, but not in the ledger"},
		"one recipient": {func(w *world, m *mailv1.Accepted) { w.spoil("DELETE FROM recipient WHERE number = 1") },
			&storev1.AuditResponse{Accepted: 2, Delivered: 1, Unaccounted: 1}, "no row for the recipient"},
		"the mailbox's row": {func(w *world, m *mailv1.Accepted) { w.spoil("DELETE FROM delivered") },
			&storev1.AuditResponse{Accepted: 2, Queued: 1, Unaccounted: 1}, "no mailbox has it"},
		"the body of what waits and of what was delivered": {func(w *world, m *mailv1.Accepted) {
			w.spoil("UPDATE message SET blob_id = ?", blob.ID{Incarnation: 99, Length: 1}.Bytes())
		}, &storev1.AuditResponse{Accepted: 4, Unaccounted: 4}, "not in the blob store"},
		"a count of recipients": {func(w *world, m *mailv1.Accepted) {
			w.spoil("DELETE FROM recipient WHERE number = 1")
			w.spoil("UPDATE message SET recipients = 1")
		}, &storev1.AuditResponse{Accepted: 2, Delivered: 1, Unaccounted: 1}, "the ledger does not"},
	} {
		t.Run(name, func(t *testing.T) {
			w, m := settled(t)
			row.spoil(w, m)
			got := w.wantAudit(row.want)
			found := false
			for _, f := range got.Findings {
				found = found || strings.Contains(f.Problem, row.problem) && string(f.QueueId) == string(m.QueueId)
			}
			if !found {
				t.Errorf("findings: got %v, want %q", got.Findings, row.problem)
			}
		})
	}
}

func TestAuditTellsOfDamage(t *testing.T) {
	w, _ := settled(t)
	w.frame(blob.Accepted, nil, "c@example.org")
	files, err := filepath.Glob(filepath.Join(w.folder, "blobs", "*", "*.seg"))
	if err != nil || len(files) == 0 {
		t.Fatal("no segment: ", err)
	}
	segment, err := os.OpenFile(files[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	var at int64
	w.scan(must(w.blobs.Incarnations(w.ctx))[0].ID, func(f blob.Scanned) {
		if at == 0 {
			at = int64(f.ID.Offset) + int64(f.ID.Length) - 8 // in the trailer of the first
		}
	})
	if _, err := segment.WriteAt([]byte("spoiled!"), at); err != nil {
		t.Fatal(err)
	}
	for _, full := range []bool{false, true} {
		got := w.auditAs(&storev1.AuditRequest{Full: full})
		if got.Accepted != 3 || got.Unaccounted != 2 || got.Pending != 1 || got.Frames != 2 {
			t.Errorf("full %t: got %v, want the mailbox's copy and the recipient that waits for it unaccounted, each once", full, got)
		}
	}
}

func TestAuditCountsEveryState(t *testing.T) {
	w := newWorld(t)
	states := []storev1.State{storev1.State_STATE_QUEUED, storev1.State_STATE_HELD, storev1.State_STATE_QUARANTINED,
		storev1.State_STATE_RELAYED, storev1.State_STATE_BOUNCED, storev1.State_STATE_EXPANDED, storev1.State_STATE_DISCARDED, storev1.State_STATE_DEAD}
	var to []string
	for range states {
		to = append(to, "a@example.org")
	}
	m := w.frame(blob.Accepted, nil, to...)
	routed := &storev1.Routed{Message: m}
	for i, s := range states {
		row := ledgertest.Local("a@example.org", 7)
		row.Number, row.State = uint32(i), s
		routed.Recipients = append(routed.Recipients, row)
	}
	added := ledgertest.Local("b@example.org", 7)
	added.Number = uint32(len(states))
	routed.Recipients = append(routed.Recipients, added)
	child := w.frame(blob.Generated, accept(mailv1.Action_ACTION_ACCEPT), "sender@example.net")
	made := &storev1.Routed{Message: child, Recipients: []*storev1.RecipientRow{ledgertest.Remote("sender@example.net")}}
	if _, err := w.db.Ledger().Record(w.ctx, []*storev1.Routed{routed, made}); err != nil {
		t.Fatal(err)
	}
	w.frame(blob.Accepted, nil, "young@example.org")
	want := &storev1.AuditResponse{Accepted: 9, Relayed: 1, Bounced: 1, Expanded: 1, Discarded: 1, Quarantined: 1, Pending: 1,
		Queued: 3, Held: 1, Dead: 1, Added: 1, Generated: 1}
	got := w.wantAudit(want)
	if sum, all := sumOf(got), got.Accepted+got.Added+got.Generated; sum != all {
		t.Errorf("the states are %d, accepted, added and generated together %d", sum, all)
	}
	if got.Frames != 3 {
		t.Errorf("got %d frames, want 3", got.Frames)
	}
	reg := prometheus.NewRegistry()
	w.part.deps.Metrics = reg
	part, err := newLedgerPart(w.cfg, w.part.deps)
	if err != nil {
		t.Fatal(err)
	}
	if err := untilIdle(w.ctx, part.tasks[3]); err != nil {
		t.Fatal(err)
	}
	families := must(reg.Gather())
	values := map[string]float64{}
	for _, f := range families {
		if f.GetMetric()[0].GetGauge() != nil {
			values[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	got.ProtoReflect().Range(func(d protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if d.Kind() == protoreflect.Uint64Kind && values["mailfarm_audit_"+string(d.Name())] != float64(v.Uint()) {
			t.Errorf("metric of %s: got %v, want %d", d.Name(), values["mailfarm_audit_"+string(d.Name())], v.Uint())
		}
		return true
	})
}

// sumOf adds up the states.
func sumOf(r *storev1.AuditResponse) uint64 {
	return r.Delivered + r.Relayed + r.Bounced + r.Expanded + r.Discarded + r.Quarantined + r.Pending + r.Queued + r.Held + r.Dead +
		r.Unaccounted
}

func TestAuditCountsTheOutbox(t *testing.T) {
	w := newWorld(t)
	row := ledgertest.Local("a@example.org", 7)
	row.State = storev1.State_STATE_BOUNCED
	child := w.frame(blob.Generated, accept(mailv1.Action_ACTION_ACCEPT), "sender@example.net")
	routed := &storev1.Routed{
		Message: w.frame(blob.Accepted, nil, "a@example.org"), Recipients: []*storev1.RecipientRow{row}, Children: []*mailv1.Accepted{child},
	}
	if _, err := w.db.Ledger().Record(w.ctx, []*storev1.Routed{routed}); err != nil {
		t.Fatal(err)
	}
	w.wantAudit(&storev1.AuditResponse{Accepted: 1, Bounced: 1, Pending: 1, Generated: 1})
	made := &storev1.Routed{Message: child, Recipients: []*storev1.RecipientRow{ledgertest.Remote("sender@example.net")}}
	if _, err := w.db.Ledger().Record(w.ctx, []*storev1.Routed{made}); err != nil {
		t.Fatal(err)
	}
	w.wantAudit(&storev1.AuditResponse{Accepted: 1, Bounced: 1, Queued: 1, Generated: 1})
}

func TestAuditSince(t *testing.T) {
	w := newWorld(t)
	w.record(w.frame(blob.Accepted, nil, "old@example.org"))
	w.frame(blob.Accepted, nil, "old@example.org")
	w.clock.Advance(time.Hour)
	since := w.clock.Now().UnixNano()
	w.record(w.frame(blob.Accepted, nil, "new@example.org"))
	w.frame(blob.Accepted, nil, "new@example.org")
	got, err := w.part.queue.Audit(w.ctx, &storev1.AuditRequest{SinceNs: since})
	if err != nil || got.Accepted != 2 || got.Queued != 1 || got.Pending != 1 {
		t.Errorf("got %v, %v; want the two new ones", got, err)
	}
}

func TestPrunedMessagesAreNotMissed(t *testing.T) {
	w := newWorld(t)
	old := w.frame(blob.Accepted, nil, "a@example.org")
	w.record(old)
	w.deliver(old, 0)
	waits := w.frame(blob.Accepted, nil, "b@example.org")
	w.record(waits)
	w.clock.Advance(time.Minute)
	w.recover()
	w.clock.Advance(ledger.PruneAfter + time.Hour)
	if err := untilIdle(w.ctx, w.part.tasks[4]); err != nil {
		t.Fatal(err)
	}
	known := must(w.db.Ledger().Known(w.ctx, [][]byte{old.QueueId, waits.QueueId}))
	if known[0].Found || !known[1].Found {
		t.Fatalf("got %v, want the final one pruned and the other kept", known)
	}
	w.wantAudit(&storev1.AuditResponse{Accepted: 1, Queued: 1})
	// A message of the same age that lost its row otherwise cannot be told from a pruned one; a younger one can.
	young := w.frame(blob.Accepted, nil, "c@example.org")
	w.record(young)
	w.clock.Advance(time.Minute)
	w.recover()
	w.spoil("DELETE FROM message WHERE queue_id = ?", young.QueueId)
	w.spoil("DELETE FROM recipient WHERE queue_id = ?", young.QueueId)
	w.wantAudit(&storev1.AuditResponse{Accepted: 2, Queued: 1, Unaccounted: 1})
	// Filing it again would make a second copy: the dedupe row has gone with the message's.
	results, err := w.db.Mailboxes().Deliver(w.ctx, []index.Delivery{{QueueID: envelope.QueueID(old.QueueId), Account: mailbox.AccountID(7),
		Message: index.Message{Blob: must(blob.IDFrom(old.BlobId)), Size: 10, Received: w.clock.Now()}}})
	if err == nil && results[0].Status == index.Delivered {
		t.Errorf("a pruned message was delivered again: %+v", results)
	}
}
