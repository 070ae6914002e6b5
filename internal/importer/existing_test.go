package importer_test

import (
	"crypto/sha256"
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

// TestOtherForms brings the same mail from mbox files of each dialect, a Maildir and a zip file: it is there once.
func TestOtherForms(t *testing.T) {
	t.Parallel()
	texts := []string{
		"Received: a\r\nMessage-ID: <1@x>\r\nSubject: a\r\n\r\nFrom me\r\n>From you\r\n>>From them\r\n\r\n\r\n",
		"Subject: b\r\n\r\n", "Subject: b\r\n\r\n", "Subject: b\r\nX-UIDL: theirs\r\n\r\n",
		"Message-ID: <2@x>\r\nStatus: RO\r\nX-Mozilla-Status: 0001\r\nSubject: c\r\n\r\nbare\nlf\r\n", "Subject: d\r\n\r\nno end",
	}
	from, to := startFarm(t, sqlite.Options{}), startFarm(t, sqlite.Options{})
	from.append(t, texts...)
	dir := t.TempDir()
	forms := []struct {
		name    string
		format  archive.Format
		dialect mbox.Dialect
	}{
		{"o", archive.Mbox, mbox.O}, {"rd", archive.Mbox, mbox.RD}, {"cl", archive.Mbox, mbox.CL}, {"cl2", archive.Mbox, mbox.CL2},
		{"m", archive.Maildir, mbox.Auto}, {"z.zip", archive.Zip, mbox.O},
	}
	for _, f := range forms {
		from.exportTo(t, filepath.Join(dir, f.name), f.format, f.dialect)
	}
	for i, f := range append(forms, forms...) {
		r := to.importAt(t, filepath.Join(dir, f.name), importer.Run{})
		if want := len(texts); i == 0 && r.Filed != want || i > 0 && (r.Filed != 0 || r.Present != want) {
			t.Errorf("%s, import %d: %+v", f.name, i, r.Counts)
		}
		// And where it came from.
		if r := from.importAt(t, filepath.Join(dir, f.name), importer.Run{}); r.Filed != 0 || r.Present != len(texts) {
			t.Errorf("%s, back: %+v", f.name, r.Counts)
		}
	}
}

// TestNamesakes: a Message-ID makes a message that came another way the same, and one that says something else no other.
func TestNamesakes(t *testing.T) {
	t.Parallel()
	f := startFarm(t, sqlite.Options{})
	f.append(t, "Return-Path: <b@x>\r\nDelivered-To: a@x\r\nMessage-ID: <1@x>\r\nDate: Sat, 21 Nov 2026 10:11:12 +0000\r\nSubject: a\r\n\r\nx\r\n", "Subject: none\r\n\r\nx\r\n")
	path := t.TempDir()
	write(t, path, map[string]string{
		"cur/": "", "new/1": "Received: elsewhere\nMessage-ID: <1@x>\nDate: Sat, 21 Nov 2026 10:11:12 +0000\nSubject: a\n\nx\n", "new/2": "Message-ID: <1@x>\nDate: Sat, 21 Nov 2026 10:11:12 +0000\nSubject: a\n\nx\n--\nthe list\n",
		"new/3": "Received: elsewhere\nSubject: none\n\nx\n",
	})
	for i := range 2 {
		r := f.importAt(t, path, importer.Run{})
		if want := 2 - 2*i; r.Filed != want || r.Present != 3-want || i == 0 && len(r.Notes) != 2 {
			t.Errorf("import %d: %+v", i, r)
		}
	}
}

// TestAlerts: a program has one Message-ID, or none, and no Date, and what it sends differs by when it came or by a field that
// mbox files have as well. None of it is lost, and none comes twice.
func TestAlerts(t *testing.T) {
	t.Parallel()
	f := startFarm(t, sqlite.Options{})
	dir := t.TempDir()
	mail := func(head string) string {
		return "From ups@x Sat Jan 3 10:11:12 2026\n" + head + "Subject: power\n\nlost\n\n"
	}
	write(t, dir, map[string]string{
		"jan.mbox": mail("Received: by mx; Sat, 3 Jan 2026 10:11:12 +0000\nMessage-ID: <ups@x>\n"),
		"feb.mbox": mail("Received: by mx; Tue, 3 Feb 2026 10:11:12 +0000\nMessage-ID: <ups@x>\n"),
		"ok/cur/":  "", "ok/new/1": "Status: OK\nSubject: job\n\ndone\n",
		"bad/cur/": "", "bad/new/1": "Status: FAILED\nSubject: job\n\ndone\n",
	})
	for i := range 2 {
		for _, name := range []string{"jan.mbox", "feb.mbox", "ok", "bad"} {
			if r := f.importAt(t, filepath.Join(dir, name), importer.Run{Into: "Alerts"}); r.Filed != 1-i || r.Present != i {
				t.Errorf("%s, import %d: %+v", name, i, r.Counts)
			}
		}
	}
}

// TestBroughtBefore: what an earlier version brought, by its octets, is known.
func TestBroughtBefore(t *testing.T) {
	t.Parallel()
	f := startFarm(t, sqlite.Options{})
	text := "Subject: a\r\n\r\nx\r\n"
	sum := sha256.Sum256([]byte(text))
	key := func(n byte) []byte { return append(append([]byte("sha256:"), sum[:]...), n) }
	f.put(t, &storev1.ImportBegin{Mailbox: "INBOX"}, []*storev1.ImportStart{{Key: key(0)}, {Key: key(1)}}, []string{text, text})
	_, err := f.mailboxes.Expunge(t.Context(), &storev1.ExpungeRequest{Account: account, Mailbox: f.boxes(t)["INBOX"].Id, Uids: []byte{1, 0}, Force: true})
	check(t, err)
	path := t.TempDir()
	write(t, path, map[string]string{"cur/": "", "new/1": "Subject: a\n\nx\n", "new/2": "Subject: a\n\nx\n", "new/3": "Subject: a\n\nx\n"})
	if r := f.importAt(t, path, importer.Run{}); r.Filed != 1 || r.Present != 1 || r.Removed != 1 {
		t.Errorf("%+v", r.Counts)
	}
}
