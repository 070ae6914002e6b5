package store_test

import (
	"bytes"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

func TestAppendAndRead(t *testing.T) {
	r := start(t, store.Config{})
	bodies := [][]byte{body(3000), body(70_000), body(600_000), {}, []byte("no header")}
	var parts []*storev1.AppendRequest
	for _, b := range bodies {
		parts = append(parts, startPart(7, "inbox", len(b), `\Seen`, `\seen`, "$Work"))
		for piece := range slices.Chunk(b, 50_000) {
			parts = append(parts, dataPart(piece))
		}
		parts = append(parts, endPart)
	}
	resp, err := r.append(t.Context(), parts...)
	if err != nil {
		t.Fatal(err)
	}
	inbox := r.list(t, 7)["INBOX"]
	if !reflect.DeepEqual(resp.GetUids(), []uint32{1, 2, 3, 4, 5}) || resp.GetMailbox() != inbox.GetId() || resp.GetUidValidity() != inbox.GetUidValidity() ||
		!reflect.DeepEqual(inbox.GetKeywords(), []string{"$Work"}) {
		t.Errorf("got %v in %v", resp, inbox)
	}
	if n := r.notices.take(); len(n) != 1 || !reflect.DeepEqual(n[0].GetMailboxes(), []uint64{inbox.GetId()}) || n[0].GetModSeq() != inbox.GetHighestModSeq() {
		t.Errorf("notices %v", n)
	}
	var ids []uint64
	for i, e := range r.entries(t, 7, inbox.GetId()) {
		if e.Size != int64(len(bodies[i])) || e.Received != 1_700_000_000 {
			t.Errorf("entry %+v, want %d octets", e, len(bodies[i]))
		}
		ids = append(ids, uint64(e.Email))
	}
	var ranges []*storev1.BodyRange
	for i, e := range r.emails(t, 7, ids...) {
		var x message.Indexer
		x.Write(bodies[i])
		ix, _ := x.Finish()
		if !bytes.Equal(e.GetPartIndex(), ix.Encode(nil)) || e.GetSize() != int64(len(bodies[i])) {
			t.Errorf("email %d: %v", i, e)
		}
		ranges = append(ranges, &storev1.BodyRange{BlobId: e.GetBlobId(), Length: -1})
	}
	got, err := r.read(t.Context(), ranges...)
	if err != nil || len(got) != len(bodies) {
		t.Fatalf("%d bodies, %v", len(got), err)
	}
	for i := range got {
		if !bytes.Equal(got[i], bodies[i]) {
			t.Errorf("body %d: %d octets, want %d", i, len(got[i]), len(bodies[i]))
		}
	}
}

func TestReadRangesUnderOverlay(t *testing.T) {
	r := start(t, store.Config{})
	b := body(200_000)
	if _, err := r.append(t.Context(), startPart(7, "INBOX", len(b)), dataPart(b), endPart); err != nil {
		t.Fatal(err)
	}
	id := r.emails(t, 7, uint64(r.entries(t, 7, r.list(t, 7)["INBOX"].GetId())[0].Email))[0].GetBlobId()
	overlay := &mailv1.Overlay{Prefix: []byte("Return-Path: <a@b>\r\n"), Cuts: []*mailv1.Cut{{Offset: 0, Length: 15}}}
	seen := append([]byte("Return-Path: <a@b>\r\n"), b[15:]...)
	var ranges []*storev1.BodyRange
	var want [][]byte
	for _, x := range [][2]int64{{0, -1}, {0, 10}, {15, 20}, {20, 0}, {150_000, 1 << 40}, {int64(len(seen)), -1}, {1 << 50, 5}, {int64(len(seen)) - 1, 1}} {
		ranges = append(ranges, &storev1.BodyRange{BlobId: id, Overlay: overlay, Offset: x[0], Length: x[1]})
		from := min(x[0], int64(len(seen)))
		to := int64(len(seen))
		if x[1] >= 0 {
			to = min(from+x[1], to)
		}
		want = append(want, seen[from:to])
	}
	got, err := r.read(t.Context(), ranges...)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d of %d ranges, %v", len(got), len(want), err)
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("range %v: %d octets, want %d", ranges[i], len(got[i]), len(want[i]))
		}
	}
	missing := (blob.ID{Incarnation: 99, Length: 100}).Bytes()
	got, err = r.read(t.Context(), ranges[1], &storev1.BodyRange{BlobId: missing, Length: -1}, ranges[1])
	wantCode(t, "missing body", err, codes.NotFound)
	if len(got) != 1 || !bytes.Equal(got[0], want[1]) || !strings.Contains(err.Error(), "range 1") {
		t.Errorf("before the missing one: %q, %v", got, err)
	}
	for what, bad := range map[string]*storev1.BodyRange{
		"negative offset": {BlobId: id, Offset: -1, Length: -1},
		"negative length": {BlobId: id, Length: -2},
		"no blob id":      {Length: -1},
		"long prefix":     {BlobId: id, Length: -1, Overlay: &mailv1.Overlay{Prefix: make([]byte, store.MaxOverlayPrefix+1)}},
	} {
		_, err := r.read(t.Context(), bad)
		wantCode(t, what, err, codes.InvalidArgument)
	}
	// A cut that lies nowhere near the body.
	if got, err := r.read(t.Context(), &storev1.BodyRange{BlobId: id, Length: 3, Overlay: &mailv1.Overlay{Cuts: []*mailv1.Cut{
		{Offset: -5, Length: 7}, {Offset: 1 << 62, Length: 1 << 62}, {Offset: 1 << 62, Length: -4}}}}); err != nil || !bytes.Equal(got[0], b[:3]) {
		t.Errorf("under wild cuts: %q, %v", got, err)
	}
}

func TestAppendIsRefused(t *testing.T) {
	r := start(t, store.Config{MaxMessageBytes: 10_000, MaxAppend: 2})
	r.list(t, 7)
	b := body(1000)
	ok := []*storev1.AppendRequest{startPart(7, "INBOX", len(b)), dataPart(b), endPart}
	for _, tt := range []struct {
		name  string
		parts []*storev1.AppendRequest
		want  codes.Code
	}{
		{"nothing", nil, codes.InvalidArgument},
		{"data before start", []*storev1.AppendRequest{dataPart(b)}, codes.InvalidArgument},
		{"end before start", []*storev1.AppendRequest{endPart}, codes.InvalidArgument},
		{"no part", []*storev1.AppendRequest{{}}, codes.InvalidArgument},
		{"start within", []*storev1.AppendRequest{ok[0], ok[0]}, codes.InvalidArgument},
		{"no end", ok[:2], codes.InvalidArgument},
		{"fewer octets", []*storev1.AppendRequest{ok[0], dataPart(b[:999]), endPart}, codes.InvalidArgument},
		{"more octets", []*storev1.AppendRequest{ok[0], dataPart(b), dataPart(b[:1]), endPart}, codes.InvalidArgument},
		{"no end behind a whole one", slices.Concat(ok, ok[:2]), codes.InvalidArgument},
		{"two mailboxes", slices.Concat(ok, []*storev1.AppendRequest{startPart(7, "Sent", len(b)), ok[1], endPart}), codes.InvalidArgument},
		{"two accounts", slices.Concat(ok, []*storev1.AppendRequest{startPart(8, "INBOX", len(b)), ok[1], endPart}), codes.InvalidArgument},
		{"too many", slices.Concat(ok, ok, ok), codes.InvalidArgument},
		{"too large", []*storev1.AppendRequest{startPart(7, "INBOX", 10_001)}, codes.OutOfRange},
		{"negative size", []*storev1.AppendRequest{startPart(7, "INBOX", -1)}, codes.InvalidArgument},
		{"no account", []*storev1.AppendRequest{startPart(0, "INBOX", 5)}, codes.InvalidArgument},
		{"no flag", []*storev1.AppendRequest{startPart(7, "INBOX", 5, "a b")}, codes.InvalidArgument},
		{"no mailbox", []*storev1.AppendRequest{startPart(7, "nowhere", len(b)), ok[1], endPart}, codes.NotFound},
	} {
		_, err := r.append(t.Context(), tt.parts...)
		wantCode(t, tt.name, err, tt.want)
	}
	if m := r.list(t, 7)["INBOX"]; m.GetMessages() != 0 || m.GetUidNext() != 1 {
		t.Errorf("something was stored: %v", m)
	}
	if n := r.notices.take(); len(n) != 0 {
		t.Errorf("notices %v", n)
	}
	if _, err := r.append(t.Context(), slices.Concat(ok, ok)...); err != nil {
		t.Errorf("as it should be: %v", err)
	}
}

// TestBodiesAlong: bodies come with their emails in the order asked for while there is room; what is too large, or cannot be
// read, comes without and is no error.
func TestBodiesAlong(t *testing.T) {
	r := start(t, store.Config{})
	bodies := [][]byte{body(3000)[:3000], body(70_000)[:70_000], {}, body(500)[:500], body(2 << 20)}
	for _, b := range bodies {
		if _, err := r.append(t.Context(), startPart(7, "INBOX", len(b)), dataPart(b), endPart); err != nil {
			t.Fatal(err)
		}
	}
	var ids []uint64
	for _, e := range r.entries(t, 7, r.list(t, 7)["INBOX"].GetId()) {
		ids = append(ids, uint64(e.Email))
	}
	for _, tt := range []struct {
		upTo int64
		want []bool
	}{
		{0, []bool{false, false, true, false, false}},
		{3000, []bool{true, false, true, false, false}},
		{3499, []bool{true, false, true, false, false}},
		{3500, []bool{true, false, true, true, false}},
		{73_500, []bool{true, true, true, true, false}},
		{1 << 40, []bool{true, true, true, true, false}}, // no more than 1 MiB
	} {
		stream, err := r.Emails(t.Context(), &storev1.EmailsRequest{Account: 7, Emails: ids, WithoutPartIndex: true, BodiesUpTo: tt.upTo})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			page, err := stream.Recv()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.GetEmails() {
				if e.GetId() != ids[n] {
					t.Fatalf("up to %d: email %d is %d, want %d", tt.upTo, n, e.GetId(), ids[n])
				}
				want := bodies[n]
				if !tt.want[n] {
					want = nil
				}
				if !bytes.Equal(e.GetBody(), want) {
					t.Errorf("up to %d: body %d has %d octets, want %d", tt.upTo, n, len(e.GetBody()), len(want))
				}
				n++
			}
		}
		if n != len(ids) {
			t.Errorf("up to %d: %d emails, want %d", tt.upTo, n, len(ids))
		}
	}
}
