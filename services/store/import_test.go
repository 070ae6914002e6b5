package store_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

func importBegin(b *storev1.ImportBegin) *storev1.ImportRequest {
	return &storev1.ImportRequest{Part: &storev1.ImportRequest_Begin{Begin: b}}
}

// importMessage is a whole message.
func importMessage(start *storev1.ImportStart, data []byte) []*storev1.ImportRequest {
	start.Size = int64(len(data))
	return []*storev1.ImportRequest{
		{Part: &storev1.ImportRequest_Start{Start: start}},
		{Part: &storev1.ImportRequest_Data{Data: data[:len(data)/2]}}, {Part: &storev1.ImportRequest_Data{Data: data[len(data)/2:]}},
		{Part: &storev1.ImportRequest_End{End: true}},
	}
}

func (r *role) importAll(ctx context.Context, parts ...*storev1.ImportRequest) (*storev1.ImportResponse, error) {
	stream, err := r.imports.Import(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if stream.Send(p) != nil {
			break // CloseAndRecv tells why
		}
	}
	return stream.CloseAndRecv()
}

func TestImport(t *testing.T) {
	r := start(t, store.Config{MaxMessageBytes: 10_000, MaxAppend: 3})
	ctx := t.Context()
	texts := [][]byte{body(300), body(2000), body(100)}
	parts := []*storev1.ImportRequest{importBegin(&storev1.ImportBegin{Account: 7, Mailbox: "inbox", UidValidity: 1_700_000_001, UidNext: 900})}
	for i, text := range texts {
		parts = append(parts, importMessage(&storev1.ImportStart{Key: fmt.Append(nil, i), Flags: []string{`\Seen`, "$Work"}, Uid: uint32(10 + 5*i),
			ReceivedNs: 1_500_000_000_000_000_000, SavedNs: 1_500_000_001_000_000_000, Uidl: []string{"a.0", "", "not valid"}[i]}, text)...)
	}
	got, err := r.importAll(ctx, parts...)
	if err != nil || !got.Kept || got.Made || got.UidValidity != 1_700_000_001 || len(got.Results) != 3 || got.Results[2].Uid != 20 ||
		got.Results[0].Status != storev1.ImportStatus_IMPORT_STATUS_FILED {
		t.Fatalf("got %v, %v", got, err)
	}
	if n := r.notices.take(); len(n) != 1 || n[0].Mailboxes[0] != got.Mailbox {
		t.Errorf("notices: %v", n)
	}
	// A repeat files nothing and tells nobody.
	again, err := r.importAll(ctx, parts...)
	if err != nil || again.Results[1].Status != storev1.ImportStatus_IMPORT_STATUS_PRESENT || again.Results[1].Uid != 15 {
		t.Errorf("repeat: %v, %v", again, err)
	}
	if n := r.notices.take(); len(n) != 0 {
		t.Errorf("notices of a repeat: %v", n)
	}
	known, err := r.imports.Imported(ctx, &storev1.ImportedRequest{Account: 7, Mailbox: "INBOX", Keys: [][]byte{[]byte("1"), []byte("9")}})
	if err != nil || known.Mailbox != got.Mailbox || known.Messages != 3 || known.Results[0].Uid != 15 || known.Results[1].Uid != 0 {
		t.Errorf("Imported: %v, %v", known, err)
	}
	names, err := r.imports.UIDLs(ctx, &storev1.UIDLsRequest{Account: 7, Mailbox: got.Mailbox})
	if err != nil || len(names.Uids) != 1 || names.Uids[0] != 10 || names.Uidls[0] != "a.0" || names.More {
		t.Errorf("UIDLs: %v, %v", names, err)
	}
	// The frames are no mail that recovery would send.
	var list []mailbox.EmailID
	entries := r.entries(t, 7, got.Mailbox)
	for _, e := range entries {
		list = append(list, e.Email)
	}
	emails, err := r.db.Mailboxes().Emails(ctx, 7, list, true)
	if err != nil || len(emails) != 3 {
		t.Fatalf("emails: %d, %v", len(emails), err)
	}
	for i := range emails {
		f, err := r.blobs.Open(ctx, emails[i].Blob)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(f.Reader()); err != nil || !bytes.Equal(b.Bytes(), texts[i]) || f.Meta.Kind != blob.Appended || len(emails[i].PartIndex) == 0 {
			t.Errorf("body %d: %d octets, kind %d, %v", i, b.Len(), f.Meta.Kind, err)
		}
		f.Close()
	}
}

func TestImportIsRefused(t *testing.T) {
	r := start(t, store.Config{MaxMessageBytes: 1000, MaxAppend: 2})
	begin := importBegin(&storev1.ImportBegin{Account: 7, Mailbox: "INBOX"})
	one := importMessage(&storev1.ImportStart{Key: []byte("k")}, body(100))
	for _, tt := range []struct {
		name  string
		parts []*storev1.ImportRequest
		want  codes.Code
	}{
		{"nothing", nil, codes.InvalidArgument},
		{"not begun", one, codes.InvalidArgument},
		{"begun twice", []*storev1.ImportRequest{begin, begin}, codes.InvalidArgument},
		{"no mailbox", append([]*storev1.ImportRequest{importBegin(&storev1.ImportBegin{Account: 7, Mailbox: "Nowhere"})}, one...), codes.NotFound},
		{"no account", []*storev1.ImportRequest{importBegin(&storev1.ImportBegin{Mailbox: "INBOX"})}, codes.InvalidArgument},
		{"no key", append([]*storev1.ImportRequest{begin}, importMessage(&storev1.ImportStart{}, body(100))...), codes.InvalidArgument},
		{"long key", append([]*storev1.ImportRequest{begin}, importMessage(&storev1.ImportStart{Key: []byte(strings.Repeat("x", 256))}, body(100))...), codes.InvalidArgument},
		{"no flag", append([]*storev1.ImportRequest{begin}, importMessage(&storev1.ImportStart{Key: []byte("k"), Flags: []string{"a b"}}, body(100))...), codes.InvalidArgument},
		{"too large", append([]*storev1.ImportRequest{begin}, importMessage(&storev1.ImportStart{Key: []byte("k")}, body(2000))...), codes.OutOfRange},
		{"within a message", append([]*storev1.ImportRequest{begin}, one[:2]...), codes.InvalidArgument},
		{"short", append([]*storev1.ImportRequest{begin}, one[0], one[1], one[3]), codes.InvalidArgument},
		{"too many", append(append(append([]*storev1.ImportRequest{begin}, one...), one...), one...), codes.InvalidArgument},
	} {
		if _, err := r.importAll(t.Context(), tt.parts...); status.Code(err) != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	if m := r.list(t, 7)["INBOX"]; m.GetMessages() != 0 {
		t.Errorf("%d messages of what was refused", m.GetMessages())
	}
}
