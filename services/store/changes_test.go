package store_test

import (
	"bytes"
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

func TestChangesAndTheirNotices(t *testing.T) {
	r := start(t, store.Config{})
	ctx := t.Context()
	b := body(300)
	one := []*storev1.AppendRequest{startPart(7, "INBOX", len(b)), dataPart(b), endPart}
	if _, err := r.append(ctx, slices.Concat(one, one, one)...); err != nil {
		t.Fatal(err)
	}
	boxes := r.list(t, 7)
	inbox, trash := boxes["INBOX"].GetId(), boxes["Trash"].GetId()
	uids := func(ranges ...mailbox.UIDRange) []byte {
		return mailbox.AppendUIDSet(nil, mailbox.NewUIDSet(ranges...))
	}
	var expunged []byte
	for _, tt := range []struct {
		name string
		call func() error
		want []uint64 // the mailboxes of the notice
		none bool
	}{
		{"flag", func() error {
			_, err := r.Flag(ctx, &storev1.FlagRequest{Account: 7, Mailbox: inbox, Uids: uids(mailbox.UIDRange{First: 1, Last: 2}), Mode: storev1.FlagMode_FLAG_MODE_ADD, Flags: []string{`\Deleted`}})
			return err
		}, []uint64{inbox}, false},
		{"flag again", func() error {
			_, err := r.Flag(ctx, &storev1.FlagRequest{Account: 7, Mailbox: inbox, Uids: uids(mailbox.UIDRange{First: 1, Last: 2}), Mode: storev1.FlagMode_FLAG_MODE_ADD, Flags: []string{`\Deleted`}})
			return err
		}, nil, true},
		{"copy", func() error {
			resp, err := r.Copy(ctx, &storev1.CopyRequest{Account: 7, Mailbox: inbox, Uids: uids(mailbox.UIDRange{First: 3, Last: 9}), Target: "Trash"})
			if !bytes.Equal(resp.GetSourceUids(), uids(mailbox.UIDRange{First: 3, Last: 3})) || !bytes.Equal(resp.GetTargetUids(), uids(mailbox.UIDRange{First: 1, Last: 1})) {
				t.Errorf("copy: %v", resp)
			}
			return err
		}, []uint64{trash}, false},
		{"move", func() error {
			_, err := r.Move(ctx, &storev1.MoveRequest{Account: 7, Mailbox: inbox, Uids: uids(mailbox.UIDRange{First: 3, Last: 3}), Target: "Trash"})
			return err
		}, []uint64{inbox, trash}, false},
		{"expunge of none", func() error {
			_, err := r.Expunge(ctx, &storev1.ExpungeRequest{Account: 7, Mailbox: inbox, Uids: uids(mailbox.UIDRange{First: 9, Last: 9})})
			return err
		}, nil, true},
		{"expunge", func() error {
			resp, err := r.Expunge(ctx, &storev1.ExpungeRequest{Account: 7, Mailbox: inbox})
			expunged = resp.GetExpunged()
			return err
		}, []uint64{inbox}, false},
		{"create", func() error {
			_, err := r.Create(ctx, &storev1.CreateRequest{Account: 7, Name: "A/B"})
			return err
		}, nil, false},
		{"rename", func() error {
			_, err := r.Rename(ctx, &storev1.RenameRequest{Account: 7, From: "A", To: "C"})
			return err
		}, nil, false},
		{"subscribe", func() error {
			_, err := r.Subscribe(ctx, &storev1.SubscribeRequest{Account: 7, Name: "C/B", Subscribed: true})
			return err
		}, nil, false},
		{"delete", func() error {
			_, err := r.Delete(ctx, &storev1.DeleteRequest{Account: 7, Name: "C"})
			return err
		}, nil, false},
	} {
		r.notices.take()
		if err := tt.call(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		n := r.notices.take()
		if tt.none {
			if len(n) != 0 {
				t.Errorf("%s: notices %v", tt.name, n)
			}
			continue
		}
		c, err := r.Counters(ctx, &storev1.CountersRequest{Accounts: []uint64{7}})
		if err != nil || len(n) != 1 || !reflect.DeepEqual(n[0].GetMailboxes(), tt.want) || n[0].GetModSeq() != c.GetModSeqs()[0] {
			t.Errorf("%s: notices %v, want %v at MODSEQ %v", tt.name, n, tt.want, c)
		}
	}
	if !bytes.Equal(expunged, uids(mailbox.UIDRange{First: 1, Last: 2})) {
		t.Errorf("expunged %x", expunged)
	}
	if l := r.list(t, 7); l["C"].GetExists() || !l["C/B"].GetSubscribed() || !l["C/B"].GetExists() || l["Trash"].GetMessages() != 2 {
		t.Errorf("in the end: %v", l)
	}
}

// TestSlowReader shows that a caller who stops reading does not keep the database, and one who goes away ends the call.
func TestSlowReader(t *testing.T) {
	r := startWith(t, store.Config{}, sqlite.Options{})
	const messages = 40_000
	inbox := uint64(fill(t, r.db, messages))
	var streams []grpc.ServerStreamingClient[storev1.SnapshotResponse]
	ctx, cancel := context.WithCancel(t.Context())
	for range 20 { // more than there are readers
		stream, err := r.Snapshot(ctx, &storev1.SnapshotRequest{Account: 70, Mailbox: inbox})
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, stream)
	}
	if n := len(r.entries(t, 70, inbox)); n != messages {
		t.Errorf("%d entries beside slow readers", n)
	}
	if _, err := streams[0].Recv(); err != nil {
		t.Errorf("first page, late: %v", err)
	}
	cancel()
	for _, s := range streams {
		for {
			if _, err := s.Recv(); err != nil {
				break
			}
		}
	}
	if n := len(r.entries(t, 70, inbox)); n != messages {
		t.Errorf("%d entries afterwards", n)
	}
}

func TestLeases(t *testing.T) {
	r := start(t, store.Config{})
	ctx := t.Context()
	acquire := func(holder string) *storev1.AcquireResponse {
		t.Helper()
		resp, err := r.leases.Acquire(ctx, &storev1.AcquireRequest{Name: "maildrop.7", Holder: holder, DurationMs: 60_000})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if a := acquire("a"); !a.GetTaken() {
		t.Errorf("free: %v", a)
	}
	if b := acquire("b"); b.GetTaken() || b.GetHolder() != "a" {
		t.Errorf("held: %v", b)
	}
	if _, err := r.leases.Release(ctx, &storev1.ReleaseRequest{Name: "maildrop.7", Holder: "a"}); err != nil {
		t.Fatal(err)
	}
	if b := acquire("b"); !b.GetTaken() {
		t.Errorf("given back: %v", b)
	}
	for _, bad := range []*storev1.AcquireRequest{
		{Holder: "a", DurationMs: 1}, {Name: "x", DurationMs: 1}, {Name: "x", Holder: "a"}, {Name: "x", Holder: "a", DurationMs: -1},
		{Name: "x", Holder: "a", DurationMs: store.MaxLease.Milliseconds() + 1}, {Name: strings.Repeat("x", 256), Holder: "a", DurationMs: 1},
	} {
		_, err := r.leases.Acquire(ctx, bad)
		wantCode(t, bad.String(), err, codes.InvalidArgument)
	}
}

func TestConfig(t *testing.T) {
	err := (&store.Config{MaxMessageBytes: -1, MaxAppend: -1, SnapshotTime: -1}).Validate()
	for _, key := range []string{"store.max_message_bytes", "store.max_append", "store.snapshot_time"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%v does not name %s", err, key)
		}
	}
	if _, err := store.New(store.Config{MaxAppend: -1}, store.Deps{}); err == nil {
		t.Errorf("New took a bad configuration")
	}
}
