package store_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

func TestDeliver(t *testing.T) {
	r := start(t, store.Config{})
	var req storev1.DeliverRequest
	for i := range 6 {
		req.Deliveries = append(req.Deliveries, r.accept(t, uint64(1+i%2), body(2000)))
	}
	list := req.Deliveries
	list[1].Overlay = &mailv1.Overlay{Prefix: []byte("Return-Path: <>\r\n")}
	list[2].Placements = []*storev1.Placement{{SpecialUse: `\junk`, Flags: []string{`\Recent`, "a b", "$Junk"}}, {Name: "inbox"}}
	list[3].Placements = []*storev1.Placement{{Name: "bad//name", Create: true}}
	req.Deliveries = append(list,
		proto.Clone(list[0]).(*storev1.Delivery), // a repeat
		&storev1.Delivery{QueueId: []byte("short"), Account: 1, BlobId: list[0].GetBlobId()},
		&storev1.Delivery{QueueId: list[0].GetQueueId(), Number: 9, Account: 1, BlobId: list[0].GetBlobId(), PartIndex: []byte{1}},
		&storev1.Delivery{QueueId: list[0].GetQueueId(), Account: 1, BlobId: (blob.ID{Incarnation: 77, Length: 9}).Bytes()},
		&storev1.Delivery{QueueId: list[0].GetQueueId(), BlobId: list[0].GetBlobId()},
	)
	resp, err := r.Deliver(t.Context(), &req)
	if err != nil {
		t.Fatal(err)
	}
	const delivered, duplicate, failed = storev1.DeliverStatus_DELIVER_STATUS_DELIVERED, storev1.DeliverStatus_DELIVER_STATUS_DUPLICATE,
		storev1.DeliverStatus_DELIVER_STATUS_FAILED
	for i, want := range []storev1.DeliverStatus{delivered, delivered, delivered, delivered, delivered, delivered, duplicate, failed, failed, failed, failed} {
		if got := resp.GetResults()[i]; got.GetStatus() != want || (want == failed) != (got.GetError() != "") {
			t.Errorf("delivery %d: %v, want %v", i, got, want)
		}
	}
	one, two := r.list(t, 1), r.list(t, 2)
	if one["INBOX"].GetMessages() != 3 || one["Junk"].GetMessages() != 1 || two["INBOX"].GetMessages() != 3 ||
		!reflect.DeepEqual(one["Junk"].GetKeywords(), []string{"$Junk"}) {
		t.Errorf("got %v and %v", one, two)
	}
	seen := map[uint64][]uint64{}
	for _, n := range r.notices.take() {
		if seen[n.GetAccount()] != nil {
			t.Errorf("two notices for account %d", n.GetAccount())
		}
		seen[n.GetAccount()] = n.GetMailboxes()
		slices.Sort(n.GetMailboxes())
	}
	ids := []uint64{one["INBOX"].GetId(), one["Junk"].GetId()}
	slices.Sort(ids)
	if want := map[uint64][]uint64{1: ids, 2: {two["INBOX"].GetId()}}; !reflect.DeepEqual(seen, want) {
		t.Errorf("notices %v, want %v", seen, want)
	}
	// The part index came from the tail, and the overlay with the delivery.
	email := r.emails(t, 2, resp.GetResults()[1].GetEmail())[0]
	if len(email.GetPartIndex()) == 0 || string(email.GetOverlay().GetPrefix()) != "Return-Path: <>\r\n" {
		t.Errorf("email %v", email)
	}
	again, err := r.Deliver(t.Context(), &req)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range again.GetResults()[:6] {
		want := resp.GetResults()[i]
		if got.GetStatus() != duplicate || got.GetEmail() != want.GetEmail() || got.GetUid() != want.GetUid() || got.GetMailbox() != want.GetMailbox() {
			t.Errorf("repeat of %d: %v, first %v", i, got, want)
		}
	}
	if n := r.notices.take(); len(n) != 0 {
		t.Errorf("notices of a repeat: %v", n)
	}
	entries, err := r.db.Ledger().Load(t.Context(), [][]byte{list[0].GetQueueId()})
	if err != nil || entries[0].GetRecipients()[0].GetState() != storev1.State_STATE_DELIVERED {
		t.Errorf("ledger: %v, %v", entries, err)
	}
}

// TestLostNotice shows that a change counts although nobody hears of it.
func TestLostNotice(t *testing.T) {
	r := start(t, store.Config{})
	r.notices.fail = errors.New("bus is away")
	d := r.accept(t, 7, body(500))
	resp, err := r.Deliver(t.Context(), &storev1.DeliverRequest{Deliveries: []*storev1.Delivery{d}})
	if err != nil || resp.GetResults()[0].GetStatus() != storev1.DeliverStatus_DELIVER_STATUS_DELIVERED {
		t.Errorf("got %v, %v", resp, err)
	}
	c, err := r.Counters(t.Context(), &storev1.CountersRequest{Accounts: []uint64{7, 8, 0, 1 << 63}})
	if err != nil || c.GetModSeqs()[0] != r.list(t, 7)["INBOX"].GetHighestModSeq() || c.GetModSeqs()[1] != 0 {
		t.Errorf("counters %v, %v", c, err)
	}
}

func TestOverQuota(t *testing.T) {
	r := start(t, store.Config{})
	inbox := fill(t, r.db, quota)
	_, err := r.Copy(t.Context(), &storev1.CopyRequest{Account: 70, Mailbox: uint64(inbox), Uids: []byte{1, 0}, Target: "Sent"})
	wantCode(t, "copy", err, codes.ResourceExhausted)
	b := body(50)
	_, err = r.append(t.Context(), startPart(70, "INBOX", len(b)), dataPart(b), endPart)
	wantCode(t, "append", err, codes.ResourceExhausted)
	deliver := func() storev1.DeliverStatus {
		resp, err := r.Deliver(t.Context(), &storev1.DeliverRequest{Deliveries: []*storev1.Delivery{r.accept(t, 70, b)}})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetResults()[0].GetStatus()
	}
	if got := deliver(); got != storev1.DeliverStatus_DELIVER_STATUS_OVER_QUOTA {
		t.Errorf("deliver: %v", got)
	}
	if _, err := r.Expunge(t.Context(), &storev1.ExpungeRequest{Account: 70, Mailbox: uint64(inbox), Uids: []byte{1, 0}, Force: true}); err != nil {
		t.Fatal(err)
	}
	if got := deliver(); got != storev1.DeliverStatus_DELIVER_STATUS_DELIVERED {
		t.Errorf("with room again: %v", got)
	}
}

// TestReindex shows that an email whose part index has another version gets a new one, once.
func TestReindex(t *testing.T) {
	r := start(t, store.Config{})
	ctx := t.Context()
	b := body(3000)
	d := r.accept(t, 7, b)
	d.PartIndex = []byte{message.Version + 1, 9, 9}
	resp, err := r.Deliver(ctx, &storev1.DeliverRequest{Deliveries: []*storev1.Delivery{d}})
	if err != nil {
		t.Fatal(err)
	}
	id := resp.GetResults()[0].GetEmail()
	var x message.Indexer
	x.Write(b)
	ix, _ := x.Finish()
	if got := r.emails(t, 7, id)[0].GetPartIndex(); !bytes.Equal(got, ix.Encode(nil)) {
		t.Errorf("got %x", got)
	}
	kept, err := r.db.Mailboxes().Emails(ctx, 7, []mailbox.EmailID{mailbox.EmailID(id)}, true)
	if err != nil || !bytes.Equal(kept[0].PartIndex, ix.Encode(nil)) {
		t.Errorf("kept %x, %v", kept[0].PartIndex, err)
	}
	// A body that is not there leaves the email as it is.
	lost := index.Message{Blob: blob.ID{Incarnation: 99, Length: 50}, PartIndex: []byte{message.Version + 1}, Received: time.Unix(1, 0)}
	if _, err := r.db.Mailboxes().Append(ctx, 8, "INBOX", []index.Message{lost}); err != nil {
		t.Fatal(err)
	}
	e := r.entries(t, 8, r.list(t, 8)["INBOX"].GetId())[0]
	if got := r.emails(t, 8, uint64(e.Email)); len(got) != 1 || !bytes.Equal(got[0].GetPartIndex(), lost.PartIndex) {
		t.Errorf("without a body: %v", got)
	}
}
