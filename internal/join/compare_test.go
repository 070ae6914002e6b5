package join_test

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// compare holds a farm against the site through what roles call.
func (s *site) compare(t testing.TB, f *farm) {
	t.Helper()
	s.compareDirectory(t, f)
	for _, acc := range s.ids {
		s.compareAccount(t, f, acc)
	}
	s.compareLedger(t, f)
	s.compareFrames(t, f)
	s.compareJump(t, f)
}

func (s *site) compareDirectory(t testing.TB, f *farm) {
	t.Helper()
	want, got := must(s.accounts.Domains(s.ctx)), must(f.accounts.Domains(s.ctx))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("domains: got %+v, want %+v", got, want)
	}
	a, b := must(s.accounts.Accounts(s.ctx, s.ids)), must(f.accounts.Accounts(s.ctx, s.ids))
	if !reflect.DeepEqual(a, b) {
		t.Errorf("accounts differ")
	}
	if a, b := must(s.accounts.Secret(s.ctx)), must(f.accounts.Secret(s.ctx)); string(a) != string(b) {
		t.Error("unknown users get other salts")
	}
	if a, b := must(s.accounts.Version(s.ctx)), must(f.accounts.Version(s.ctx)); b < a {
		t.Errorf("version %d after %d", b, a)
	}
}

// pages reads all of a mailbox.
func pages(t testing.TB, m index.Mailboxes, acc mailbox.AccountID, box mailbox.ID, since mailbox.ModSeq) (first *index.Mailbox, chunks []mailbox.Packed, expunged mailbox.UIDSet) {
	t.Helper()
	err := m.Snapshot(t.Context(), index.SnapshotQuery{Account: acc, Mailbox: box, Since: since}, func(p *index.Page) error {
		if p.Mailbox != nil {
			first, expunged = p.Mailbox, p.Expunged
		}
		chunks = append(chunks, p.Chunks...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return first, chunks, expunged
}

func (s *site) compareAccount(t testing.TB, f *farm, acc mailbox.AccountID) {
	t.Helper()
	here, there := s.index.Mailboxes(), f.index.Mailboxes()
	want, seq, err := here.List(s.ctx, acc)
	if err != nil {
		t.Fatal(err)
	}
	got, gotSeq, err := there.List(s.ctx, acc)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) || gotSeq != seq {
		t.Errorf("account %d: mailboxes at %d: %+v; want at %d: %+v", acc, gotSeq, got, seq, want)
	}
	for _, box := range want {
		if box.ID == 0 {
			continue
		}
		for _, since := range []mailbox.ModSeq{0, 3} {
			a1, a2, a3 := pages(t, here, acc, box.ID, since)
			b1, b2, b3 := pages(t, there, acc, box.ID, since)
			if !reflect.DeepEqual(a1, b1) || !reflect.DeepEqual(a2, b2) || !reflect.DeepEqual(a3, b3) {
				t.Errorf("account %d, mailbox %s since %d: differs", acc, box.Name, since)
			}
			if since == 0 {
				s.compareEmails(t, f, acc, a2)
			}
		}
	}
}

func (s *site) compareEmails(t testing.TB, f *farm, acc mailbox.AccountID, chunks []mailbox.Packed) {
	t.Helper()
	for _, p := range chunks {
		var c mailbox.Chunk
		if err := c.Unpack(&p); err != nil {
			t.Fatal(err)
		}
		a, err := s.index.Mailboxes().Emails(s.ctx, acc, c.Emails, true)
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.index.Mailboxes().Emails(s.ctx, acc, c.Emails, true)
		if err != nil || len(a) != len(b) {
			t.Fatalf("%d emails of %d, %v", len(b), len(a), err)
		}
		for i := range a {
			if want, got := read(t, s.blobs, a[i].Blob), read(t, f.blobs, b[i].Blob); got != want {
				t.Errorf("account %d: email %d has another body", acc, a[i].ID)
			}
			a[i].Blob, b[i].Blob = blob.ID{}, blob.ID{}
			if !reflect.DeepEqual(a[i], b[i]) {
				t.Errorf("account %d: got email %+v, want %+v", acc, b[i], a[i])
			}
		}
	}
}

// read reads a frame, with what it tells beside its body.
func read(t testing.TB, blobs blob.Store, id blob.ID) string {
	t.Helper()
	f, err := blobs.Open(t.Context(), id)
	if err != nil {
		t.Fatalf("open %v: %v", id, err)
	}
	defer f.Close()
	b, err := io.ReadAll(f.Reader())
	if err != nil {
		t.Fatalf("read %v: %v", id, err)
	}
	return fmt.Sprintf("%d %s %x %x %s", f.Meta.Kind, f.Meta.QueueID, f.Meta.Tail, f.Digest, b)
}

func (s *site) compareLedger(t testing.TB, f *farm) {
	t.Helper()
	list := func(l ledger.Ledger) (all []*storev1.LedgerEntry, ids []blob.ID) {
		err := l.List(s.ctx, &storev1.QueueListRequest{Limit: 10_000}, func(page []*storev1.LedgerEntry) error {
			for _, e := range page {
				ids = append(ids, must(blob.IDFrom(e.Message.BlobId)))
				e.Message.BlobId = nil
				for _, r := range e.Recipients {
					r.LastReply = plain(r.LastReply)
				}
				all = append(all, e)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all, ids
	}
	want, from := list(s.index.Ledger())
	got, to := list(f.index.Ledger())
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	for i := range want {
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("got %s\nwant %s", protojson.Format(got[i]), protojson.Format(want[i]))
		}
		if slices.Contains(s.told, envelope.QueueID(want[i].Message.QueueId)) {
			continue // its body was given back
		}
		if a, b := read(t, s.blobs, from[i]), read(t, f.blobs, to[i]); a != b {
			t.Errorf("message %x has another frame", want[i].Message.QueueId)
		}
	}
	a, b := must(s.index.Ledger().Outbox(s.ctx, ledger.OutboxChild{}, 100)), must(f.index.Ledger().Outbox(s.ctx, ledger.OutboxChild{}, 100))
	if len(a) != len(b) || len(a) == 0 {
		t.Fatalf("%d children wait, want %d", len(b), len(a))
	}
	for i := range a {
		if x, y := read(t, s.blobs, childBlob(t, a[i])), read(t, f.blobs, childBlob(t, b[i])); x != y {
			t.Errorf("child %s has another frame", a[i].ID)
		}
	}
	// Claims were let go.
	claimed := 0
	for _, e := range want {
		for _, r := range e.Recipients {
			if r.Group == "" || r.State != storev1.State_STATE_QUEUED || r.Number != 0 {
				continue
			}
			c, err := f.index.Ledger().Claim(s.ctx, &storev1.ClaimRequest{Owner: "farm", Work: []*mailv1.RemoteWork{{QueueId: e.Message.QueueId, Group: r.Group, Generation: r.Generation}}})
			if err != nil || !c[0].Claimed {
				t.Errorf("claim %x: %v, %v", e.Message.QueueId, c, err)
			}
			claimed++
		}
	}
	if claimed == 0 {
		t.Error("nothing was claimed")
	}
}

func plain(s string) string {
	b := []byte{}
	for _, c := range []byte(s) {
		if c == 0 {
			b = append(b, "\uFFFD"...)
			continue
		}
		b = append(b, c)
	}
	return string(b)
}

func childBlob(t testing.TB, c ledger.OutboxChild) blob.ID {
	t.Helper()
	var m mailv1.Accepted
	if err := proto.Unmarshal(c.Payload, &m); err != nil {
		t.Fatal(err)
	}
	return must(blob.IDFrom(m.BlobId))
}

// compareFrames looks at the bucket as recovery does: what it would publish, what it would not, and that nothing is there twice.
func (s *site) compareFrames(t testing.TB, f *farm) {
	t.Helper()
	checkpoints := must(f.index.Ledger().Checkpoints(s.ctx))
	seen := map[envelope.QueueID]int{}
	var publish []envelope.QueueID
	for _, inc := range must(f.blobs.Incarnations(s.ctx)) {
		_, err := f.blobs.Scan(s.ctx, blob.Position{Incarnation: inc.ID}, func(fr blob.Scanned) error {
			if fr.Err != nil {
				t.Errorf("frame %v: %v", fr.ID, fr.Err)
			}
			id := fr.Meta.QueueID
			if !id.IsZero() {
				if seen[id]++; seen[id] > 1 {
					t.Errorf("message %s is in the bucket %d times", id, seen[id])
				}
			}
			if fr.Meta.Kind != blob.Accepted || checkpoints[inc.ID].Passed(fr.ID) {
				return nil
			}
			if !must(f.index.Ledger().Known(s.ctx, [][]byte{id[:]}))[0].Found && must(f.index.Ledger().Decisions(s.ctx, [][]byte{id[:]}))[0] == ledger.NotWithheld {
				publish = append(publish, id)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// What recovery passes over must be noted before room is given back.
	gaps := must(f.index.Books().Gaps(s.ctx))
	for id, c := range checkpoints {
		if !c.Done || !slices.Contains(gaps, id) {
			t.Errorf("incarnation %d: checkpoint %+v, gaps %v", id, c, gaps)
		}
	}
	sorted := func(ids []envelope.QueueID) []envelope.QueueID {
		ids = slices.Clone(ids)
		slices.SortFunc(ids, func(a, b envelope.QueueID) int { return slices.Compare(a[:], b[:]) })
		return ids
	}
	if !slices.Equal(sorted(publish), sorted(s.unrouted)) {
		t.Errorf("recovery would publish %v, want %v", publish, s.unrouted)
	}
	for _, id := range s.old {
		if d := must(f.index.Ledger().Decisions(s.ctx, [][]byte{id[:]})); d[0] != ledger.Undecided {
			t.Errorf("message %s waits for nobody's decision: %v", id, d[0])
		}
	}
}

// halfway looks at what an interrupted run left: recovery of a farm that was started now would publish nothing but what it
// shall in the end, and that only once the directory and the ledger are there.
func (s *site) halfway(t testing.TB, f *farm) {
	t.Helper()
	checkpoints := must(f.index.Ledger().Checkpoints(s.ctx))
	for _, inc := range must(f.blobs.Incarnations(s.ctx)) {
		_, err := f.blobs.Scan(s.ctx, blob.Position{Incarnation: inc.ID}, func(fr blob.Scanned) error {
			id := fr.Meta.QueueID
			if fr.Meta.Kind != blob.Accepted || checkpoints[inc.ID].Passed(fr.ID) {
				return nil
			}
			if !slices.Contains(s.unrouted, id) {
				t.Errorf("half-way: recovery would look at message %s", id)
			}
			if got := must(f.accounts.Accounts(s.ctx, s.ids)); slices.Contains(got, nil) {
				t.Errorf("half-way: message %s could be published before there is anybody to receive it", id)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// compareJump: an account that had yet to jump on the site's timeline jumps in the farm, and no other one does.
func (s *site) compareJump(t testing.TB, f *farm) {
	t.Helper()
	for _, acc := range []mailbox.AccountID{s.ids[0], s.ids[len(s.ids)-1]} {
		m := []index.Message{{Blob: blob.ID{Incarnation: 1, Offset: 64, Length: 300}, Size: 10, Received: s.now}}
		a, err := s.index.Mailboxes().Append(s.ctx, acc, index.Inbox, m)
		if err != nil {
			t.Fatal(err)
		}
		b, err := f.index.Mailboxes().Append(s.ctx, acc, index.Inbox, m)
		if err != nil {
			t.Fatal(err)
		}
		if a.UIDs[0] != b.UIDs[0] || a.ModSeq != b.ModSeq || a.UIDValidity != b.UIDValidity {
			t.Errorf("account %d: next is UID %d at %d, want %d at %d", acc, b.UIDs[0], b.ModSeq, a.UIDs[0], a.ModSeq)
		}
	}
}
