package importer_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/archive"
	"github.com/mailfarm/mailfarm/internal/importer"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/mbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// append files messages in INBOX as a client does.
func (f *farm) append(t testing.TB, texts ...string) {
	t.Helper()
	_, err := f.mailboxes.List(t.Context(), &storev1.ListRequest{Account: account}) // makes the folders
	check(t, err)
	stream, err := f.mailboxes.Append(t.Context())
	check(t, err)
	for _, text := range texts {
		check(t, stream.Send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Start{Start: &storev1.AppendStart{Account: account, Mailbox: "INBOX", Size: int64(len(text))}}}))
		check(t, stream.Send(&storev1.AppendRequest{Part: &storev1.AppendRequest_Data{Data: []byte(text)}}))
		check(t, stream.Send(&storev1.AppendRequest{Part: &storev1.AppendRequest_End{End: true}}))
	}
	_, err = stream.CloseAndRecv()
	check(t, err)
}

// TestWhatCameOtherwise imports an export where it came from: nothing is there twice that was not.
func TestWhatCameOtherwise(t *testing.T) {
	t.Parallel()
	f := startFarm(t, sqlite.Options{})
	f.append(t, "Subject: a\r\n\r\nx\r\n", "Subject: b\r\n\r\nx\r\n", "Subject: a\r\n\r\nx\r\n")
	path := filepath.Join(t.TempDir(), "m")
	f.exportTo(t, path, archive.Maildir, mbox.Auto)
	if r := f.importAt(t, path, importer.Run{}); r.Filed != 0 || r.Present != 3 {
		t.Errorf("all are there: %+v", r.Counts)
	}
	// Of a message that is there twice, a third is another one; and what is as long but not the same is.
	write(t, path, map[string]string{"new/1": "Subject: a\n\nx\n", "new/2": "Subject: c\n\nx\n"})
	for range 2 {
		f.importAt(t, path, importer.Run{})
		var subjects []string
		for _, m := range f.boxes(t)["INBOX"].messages {
			subjects = append(subjects, m.Text[9:10])
		}
		if got := strings.Join(subjects, ""); got != "abaac" {
			t.Errorf("got %s", got)
		}
	}
}
