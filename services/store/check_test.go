package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/blobtest"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// check looks through an account and tells what it found.
func (r *role) check(t *testing.T, account uint64, repair bool) []*storev1.CheckFinding {
	t.Helper()
	return r.checkAll(t, &storev1.CheckRequest{Accounts: []uint64{account}, Repair: repair})
}

func (r *role) checkAll(t *testing.T, req *storev1.CheckRequest) (found []*storev1.CheckFinding) {
	t.Helper()
	stream, err := r.checks.Check(t.Context(), req)
	for err == nil {
		var resp *storev1.CheckResponse
		if resp, err = stream.Recv(); err == nil {
			found = append(found, resp.GetFindings()...)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatalf("Check: %v", err)
	}
	return found
}

// spoil changes rows behind everybody's back.
func (r *role) spoil(t *testing.T, query string, args ...any) {
	t.Helper()
	if err := r.db.WriteSQL(t.Context(), func(tx kept.SQL) error {
		_, err := tx.Exec(query, args...)
		return err
	}); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// put files a message in INBOX of account 1 under an overlay, with what is said to be its part index.
func (r *role) put(t *testing.T, seed uint64, overlay *mailv1.Overlay, body []byte, partIndex []byte) {
	t.Helper()
	m := blobtest.NewMessage(seed, len(body))
	m.Meta.Kind, m.Body = blob.Appended, body
	id := blobtest.Commit(t, r.blobs, m)
	if _, err := r.db.Mailboxes().Append(t.Context(), 1, index.Inbox, []index.Message{
		{Blob: id, Overlay: overlay, PartIndex: partIndex, Size: int64(len(body)), Received: time.Unix(1, 0)}}); err != nil {
		t.Fatal(err)
	}
}

func partIndex(t *testing.T, body []byte) []byte {
	t.Helper()
	var x message.Indexer
	x.Write(body)
	ix, err := x.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return ix.Encode(nil)
}

// TestRecoveredHasItsVisibleSize files a message with an overlay that nothing names any more: its entry tells what a reader sees.
func TestRecoveredHasItsVisibleSize(t *testing.T) {
	r := start(t, store.Config{})
	b := body(1000)
	r.put(t, 1, &mailv1.Overlay{Prefix: []byte("X-Spam: yes\r\n")}, b, partIndex(t, b))
	r.spoil(t, "DELETE FROM chunk WHERE account = 1")
	r.spoil(t, "UPDATE mailbox SET messages = 0, unseen = 0, size = 0 WHERE account = 1")
	r.spoil(t, "UPDATE account SET messages = 0, size = 0 WHERE account = 1")
	found := r.check(t, 1, true)
	if len(found) != 1 || found[0].GetWhat() != "orphan" || found[0].GetRepaired() == "" {
		t.Fatalf("Check: %v", found)
	}
	if size := r.list(t, 1)["Recovered"].GetSize(); size != int64(len(b)+13) {
		t.Errorf("the folder has %d octets, a reader sees %d", size, len(b)+13)
	}
	if found := r.check(t, 1, false); len(found) != 0 {
		t.Errorf("Check after it: %v", found)
	}
}

// TestMailThatNobodySees loses the entries of one folder, and another folder: what lay there is filed where it is seen, once.
func TestMailThatNobodySees(t *testing.T) {
	r := start(t, store.Config{})
	for i := range uint64(4) {
		b := body(1000)
		r.put(t, 1+i, nil, b, partIndex(t, b))
	}
	box := mailbox.ID(r.list(t, 1)["INBOX"].GetId())
	if _, err := r.db.Mailboxes().Move(t.Context(), 1, box, mailbox.UIDSet{{First: 1, Last: 3}}, "Archive"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Mailboxes().Copy(t.Context(), 1, box, mailbox.UIDSet{{First: 4, Last: 4}}, "Junk"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Mailboxes().Expunge(t.Context(), 1, box, mailbox.UIDSet{{First: 4, Last: 4}}, true); err != nil {
		t.Fatal(err)
	}
	r.spoil(t, "DELETE FROM chunk WHERE account = 1 AND mailbox = (SELECT mailbox FROM mailbox WHERE account = 1 AND name = 'Archive')")
	r.spoil(t, "DELETE FROM mailbox WHERE account = 1 AND name = 'Junk'")
	if found := r.check(t, 1, false); len(found) < 5 {
		t.Errorf("Check without repair: %v", found)
	}
	what := map[string]int{}
	for _, f := range r.check(t, 1, true) {
		if f.GetRepaired() == "" {
			t.Errorf("not repaired: %v", f)
		}
		what[f.GetWhat()]++
	}
	if what["stray"] != 1 || what["orphan"] != 3 || what["counters"] == 0 {
		t.Errorf("found %v", what)
	}
	if n := r.list(t, 1)["Recovered"].GetMessages(); n != 4 {
		t.Errorf("%d messages were recovered of 4", n)
	}
	if found := r.check(t, 1, false); len(found) != 0 {
		t.Errorf("Check after it: %v", found)
	}
}

// TestMovedAndExpungedStaysGone purges what was expunged where it had been moved to before the move itself: nothing is damaged.
func TestMovedAndExpungedStaysGone(t *testing.T) {
	r := start(t, store.Config{})
	b := body(1000)
	r.put(t, 1, nil, b, partIndex(t, b))
	all := mailbox.UIDSet{{First: 1, Last: 9}}
	if _, err := r.db.Mailboxes().Move(t.Context(), 1, mailbox.ID(r.list(t, 1)["INBOX"].GetId()), all, "Trash"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Mailboxes().Expunge(t.Context(), 1, mailbox.ID(r.list(t, 1)["Trash"].GetId()), all, true); err != nil {
		t.Fatal(err)
	}
	rules := index.Rules{Now: time.Now().Add(48 * time.Hour), Keep: 1000 * time.Hour, Folders: map[string]time.Duration{"Trash": time.Hour}}
	if p, _, err := r.db.Retention().Purge(t.Context(), rules, 10); err != nil || p.Rows != 1 {
		t.Fatalf("Purge: %+v, %v", p, err)
	}
	if found := r.check(t, 1, true); len(found) != 0 {
		t.Errorf("Check: %v", found)
	}
}

// TestPartIndexOfAnother copies part indexes and blob ids between messages of one size, and writes an index of no version.
func TestPartIndexOfAnother(t *testing.T) {
	text := func(i int) []byte {
		return fmt.Appendf(nil, "Subject: %d\r\nMessage-ID: <%d@example.org>\r\n\r\nline\r\n", i, i)
	}
	const from = " WHERE account = 1 AND email = (SELECT MIN(email) FROM email)"
	for _, tt := range []struct {
		name, spoil string
		accepted    int64
		what        string
		mended      bool
		unread      bool // found without reading bodies too
	}{
		{"index", "UPDATE email SET part_index = (SELECT part_index FROM email ORDER BY email DESC LIMIT 1)" + from, 1, "part_index", true, false},
		{"index of what was appended", "UPDATE email SET part_index = (SELECT part_index FROM email ORDER BY email DESC LIMIT 1)" + from, 0, "part_index", true, false},
		{"body", "UPDATE email SET blob_id = (SELECT blob_id FROM email ORDER BY email DESC LIMIT 1)" + from, 1, "body", false, false},
		{"body of what was appended", "UPDATE email SET blob_id = (SELECT blob_id FROM email ORDER BY email DESC LIMIT 1)" + from, 0, "part_index", true, false},
		{"no version", "UPDATE email SET part_index = x'00'" + from, 1, "part_index", true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, store.Config{})
			for i := range 2 {
				b, received := text(i), time.Unix(int64(10+i), 5)
				m := blobtest.NewMessage(uint64(i), len(b))
				m.Body = b
				if tt.accepted == 0 {
					m.Meta = blob.Meta{Kind: blob.Appended}
				} else {
					tail, err := proto.Marshal(&mailv1.FrameTail{Envelope: &mailv1.Envelope{AcceptedNs: received.UnixNano()}})
					if err != nil {
						t.Fatal(err)
					}
					m.Meta = blob.Meta{Kind: blob.Accepted, QueueID: envelope.NewQueueID(received), Tail: tail}
				}
				id := blobtest.Commit(t, r.blobs, m)
				if _, err := r.db.Mailboxes().Append(t.Context(), 1, index.Inbox, []index.Message{
					{Blob: id, PartIndex: partIndex(t, b), Size: int64(len(b)), Received: received}}); err != nil {
					t.Fatal(err)
				}
			}
			bodies := &storev1.CheckRequest{Accounts: []uint64{1}, Bodies: true}
			if found := r.checkAll(t, bodies); len(found) != 0 {
				t.Fatalf("Check of what is right: %v", found)
			}
			r.spoil(t, tt.spoil)
			var served [][]byte
			if !tt.unread { // a reader makes that anew
				served = r.partIndexes(t) // and keeps them in memory
			}
			if found := r.check(t, 1, false); (len(found) == 1) != tt.unread {
				t.Errorf("Check without bodies: %v", found)
			}
			for _, repair := range []bool{false, true} {
				bodies.Repair = repair
				found := r.checkAll(t, bodies)
				if len(found) != 1 || found[0].GetWhat() != tt.what || (found[0].GetRepaired() != "") != (repair && tt.mended) {
					t.Errorf("Check, repair %v: %v", repair, found)
				}
			}
			if found := r.checkAll(t, bodies); (len(found) == 0) != tt.mended {
				t.Errorf("Check after it: %v", found)
			}
			if now := r.partIndexes(t); served != nil && (bytes.Equal(now[0], served[0]) == tt.mended || !bytes.Equal(now[1], served[1])) {
				t.Errorf("readers are told %q, before %q", now, served)
			}
		})
	}
}

// partIndexes are those of account 1, as readers are told.
func (r *role) partIndexes(t *testing.T) (list [][]byte) {
	t.Helper()
	ids, err := r.db.Retention().EmailIDs(t.Context(), 1, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	req := &storev1.EmailsRequest{Account: 1}
	for _, id := range ids {
		req.Emails = append(req.Emails, uint64(id))
	}
	stream, err := r.Emails(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.GetEmails() {
			list = append(list, e.GetPartIndex())
		}
	}
}

// TestMessageWithoutRow loses the row of one message of a folder, whose entry goes, so that the others can be read.
func TestMessageWithoutRow(t *testing.T) {
	r := start(t, store.Config{})
	for i := range uint64(3) {
		b := body(1000)
		r.put(t, 1+i, nil, b, partIndex(t, b))
	}
	before := r.list(t, 1)["INBOX"]
	r.spoil(t, "DELETE FROM email WHERE account = 1 AND email = (SELECT MIN(email) FROM email)")
	for _, repair := range []bool{false, true} {
		found := r.check(t, 1, repair)
		if len(found) != 1 || found[0].GetWhat() != "email" || found[0].GetFolder() != "INBOX" || !strings.Contains(found[0].GetDetail(), "UID 1,") || (found[0].GetRepaired() != "") != repair {
			t.Errorf("Check, repair %v: %v", repair, found)
		}
	}
	if found := r.check(t, 1, false); len(found) != 0 {
		t.Errorf("Check after it: %v", found)
	}
	after := r.list(t, 1)["INBOX"]
	if after.GetMessages() != 2 || after.GetUidNext() != 4 || after.GetHighestModSeq() <= before.GetHighestModSeq() {
		t.Errorf("INBOX is %v, was %v", after, before)
	}
}

// TestCheckOfNoAccount asks for an account that is not there, which is refused and not made.
func TestCheckOfNoAccount(t *testing.T) {
	r := start(t, store.Config{})
	b := body(1000)
	r.put(t, 1, nil, b, partIndex(t, b))
	for _, id := range []uint64{2, 99} {
		stream, err := r.checks.Check(t.Context(), &storev1.CheckRequest{Accounts: []uint64{id}})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.NotFound {
			t.Errorf("Check of account %d: %v", id, err)
		}
	}
	if list, err := r.db.Retention().Accounts(t.Context(), 0, 10); err != nil || len(list) != 1 || list[0] != 1 {
		t.Errorf("accounts: %v, %v", list, err)
	}
}

// TestFarNumbers damages a row that tells what UIDNEXT was: it is told, and the folder is left room for mail.
func TestFarNumbers(t *testing.T) {
	r := start(t, store.Config{})
	b := body(1000)
	for i := range uint64(2) {
		r.put(t, 1+i, nil, b, partIndex(t, b))
	}
	box := mailbox.ID(r.list(t, 1)["INBOX"].GetId())
	if _, err := r.db.Mailboxes().Expunge(t.Context(), 1, box, mailbox.UIDSet{{First: 1, Last: 1}}, true); err != nil {
		t.Fatal(err)
	}
	r.spoil(t, "UPDATE removed SET uid_next = 4294967295 WHERE account = 1")
	for range 2 {
		found := r.check(t, 1, true)
		if len(found) != 1 || found[0].GetWhat() != "order" || found[0].GetFolder() != "INBOX" || found[0].GetRepaired() != "" {
			t.Errorf("Check: %v", found)
		}
	}
	if next := r.list(t, 1)["INBOX"].GetUidNext(); next != 3 {
		t.Errorf("UIDNEXT is %d", next)
	}
}
