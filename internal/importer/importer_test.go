package importer_test

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/archive"
	"github.com/mailfarm/mailfarm/internal/importer"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// write makes files below a directory, which was last written in 2023.
func write(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o700))
		if strings.HasSuffix(name, "/") {
			check(t, os.MkdirAll(path, 0o700))
			continue
		}
		check(t, os.WriteFile(path, []byte(text), 0o600))
		at := time.Unix(1_700_000_000, 0)
		check(t, os.Chtimes(path, at, at))
	}
}

const from = "From alice@example.org Sat Nov 21 10:11:12 2020\n"

// tree is a Maildir++.
var tree = map[string]string{
	"cur/1.a:2,S": "Subject: 1\n\none\n", "cur/2.b:2,Fa": "Subject: 2\n\ntwo\n", "new/3.c": "Subject: 3\n\nthree\n", "cur/4.same:2,": "Subject: 1\n\none\n",
	"cur/5.empty:2,": "", "cur/6.large:2,": "Subject: 6\n\n" + strings.Repeat("x", 2<<20), "tmp/": "", "dovecot-keywords": "0 $Work\n",
	"dovecot-uidlist":        "3 V1600000000 N500\n7 P0a1b :1.a\n30 :2.b\n400 :3.c\n401 :4.same\n402 :6.large\n",
	".Work.2020/cur/1.x:2,T": "Subject: w\n\nw\n", ".Work.2020/new/": "", ".Empty/cur/": "", ".Empty/new/": "", "subscriptions": "V\t2\n\nINBOX\nEmpty\n",
	".Work.2020/dovecot-uidlist": "1 1600000001 3\n2 1.x\n",
}

func TestMaildir(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root, tree)
	f := startFarm(t, sqlite.Options{})
	dry := f.importAt(t, root, importer.Run{DryRun: true})
	if dry.Filed != 6 || dry.Skipped != 1 || !dry.DryRun {
		t.Errorf("dry run: %+v", dry)
	}
	if b := f.boxes(t); len(b["INBOX"].messages) != 0 || b["Empty"].Mailbox != nil {
		t.Error("a dry run brought something")
	}
	r := f.importAt(t, root, importer.Run{})
	if r.Format != "maildir" || r.Filed != 5 || r.Skipped != 2 || r.Reasons["empty"] != 1 || len(r.Reasons) != 2 || len(r.Folders) != 3 || !r.Folders[0].UIDsKept {
		t.Errorf("report: %+v", r)
	}
	boxes := f.boxes(t)
	in := boxes["INBOX"]
	want := []kept{
		{UID: 7, Flags: []string{`\Seen`}, Text: "Subject: 1\r\n\r\none\r\n"}, {UID: 30, Flags: []string{`\Flagged`, "$Work"}, Text: "Subject: 2\r\n\r\ntwo\r\n"},
		{UID: 400, Text: "Subject: 3\r\n\r\nthree\r\n"}, {UID: 401, Text: "Subject: 1\r\n\r\none\r\n"},
	}
	if in.UidValidity != 1_600_000_000 || in.UidNext != 500 || !equal(in.messages, want) {
		t.Errorf("INBOX: %v, %+v", in.Mailbox, in.messages)
	}
	if in.messages[0].Received != 1_700_000_000 {
		t.Errorf("received: %d", in.messages[0].Received)
	}
	if w := boxes["Work/2020"]; w.UidValidity != 1_600_000_001 || w.Subscribed || !equal(w.messages, []kept{{UID: 2, Flags: []string{`\Deleted`}, Text: "Subject: w\r\n\r\nw\r\n"}}) {
		t.Errorf("Work/2020: %v, %+v", w.Mailbox, w.messages)
	}
	if e := boxes["Empty"]; e.Mailbox == nil || !e.Subscribed {
		t.Errorf("Empty: %v", e.Mailbox)
	}
	names, err := f.imports.UIDLs(t.Context(), &storev1.UIDLsRequest{Account: account, Mailbox: in.Id})
	if err != nil || !slices.Equal(names.Uidls, []string{"0a1b"}) {
		t.Errorf("UIDLs: %v, %v", names, err)
	}
	// A repeat brings nothing; what is new since comes, and what was removed here stays so.
	_, err = f.mailboxes.Expunge(t.Context(), &storev1.ExpungeRequest{Account: account, Mailbox: in.Id, Uids: []byte{30, 0}, Force: true})
	check(t, err)
	write(t, root, map[string]string{"new/9.z": "Subject: 9\n\nnine\n"})
	again := f.importAt(t, root, importer.Run{})
	if again.Filed != 1 || again.Present != 4 || again.Removed != 1 {
		t.Errorf("repeat: %+v", again.Counts)
	}
	if back := f.importAt(t, root, importer.Run{Again: true}); back.Filed != 1 || back.Removed != 0 {
		t.Errorf("again: %+v", back.Counts)
	}
}

// TestPrefix: "INBOX." before all folders is no part of their names; before some it is.
func TestPrefix(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ dirs, want []string }{
		{[]string{".INBOX.Sent", ".INBOX.Work.2020"}, []string{"Sent", "Work/2020"}},
		{[]string{".INBOX.Sent", ".Sent"}, []string{"INBOX/Sent", "Sent"}},
		{[]string{".INBOX.Sent", "Sent"}, []string{"INBOX/Sent", "Sent"}},
		{[]string{".INBOX.Sent", ".Work"}, []string{"INBOX/Sent", "Work"}},
		{[]string{".INBOX.INBOX", ".INBOX.Work"}, []string{"INBOX/INBOX", "INBOX/Work"}},
	} {
		root := t.TempDir()
		files := map[string]string{"cur/": "", "new/": "", "subscriptions": ""}
		for _, d := range tt.dirs {
			files[d+"/cur/1:2,"], files[d+"/new/"] = "Subject: "+d+"\n\n", ""
			files["subscriptions"] += strings.TrimPrefix(d, ".") + "\n"
		}
		write(t, root, files)
		f := startFarm(t, sqlite.Options{})
		f.importAt(t, root, importer.Run{})
		boxes := f.boxes(t)
		for i, name := range tt.want {
			if b := boxes[name]; !b.GetSubscribed() || len(b.messages) != 1 || b.messages[0].Text != "Subject: "+tt.dirs[i]+"\r\n\r\n" {
				t.Errorf("%q: %s: %v, %+v", tt.dirs, name, b.Mailbox, b.messages)
			}
		}
	}
}

// TestWhatIsNotReadIsLeft: what may be mail and is not read is counted as left, and told with the reason.
func TestWhatIsNotReadIsLeft(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root, map[string]string{"cur/1.a:2,": "Subject: a\n\nx\n", "new/": "", "old": strings.ReplaceAll(from+"Subject: b\n\nx\n", "\n", "\r"),
		"passed": from + "Subject: c\n\nx\n\n" + from + "no header\n"})
	check(t, os.Symlink("/elsewhere", filepath.Join(root, ".Linked")))
	check(t, os.Symlink("1.a:2,", filepath.Join(root, "cur/2.b:2,")))
	r := startFarm(t, sqlite.Options{}).importAt(t, root, importer.Run{})
	want := []importer.Left{{Where: ".Linked", Why: "a symbolic link, which is not followed"}, {Where: "cur/2.b:2,", Why: "a symbolic link, which is not followed"},
		{Where: "old", Why: "unreadable: old: no mbox that is read: its line ends are CR alone"}}
	if r.Filed != 2 || r.Skipped != 3 || !reflect.DeepEqual(r.Left, want) || r.Folders[0].Skipped != 1 || len(r.Folders) != 3 || r.Folders[1].Skipped != 1 {
		t.Errorf("%+v", r)
	}
	if len(r.Notes) != 1 || r.Notes[0] != fmt.Sprintf("passed: 1 lines look like the begin of a message and are taken for text, the first at octet %d", len(from)+15) {
		t.Errorf("notes: %q", r.Notes)
	}
}

// TestDeletedButNotCompacted: what Thunderbird had deleted comes with a flag, and is told.
func TestDeletedButNotCompacted(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root, map[string]string{"Inbox": from + "X-Mozilla-Status: 0009\nSubject: a\n\nx\n\n" + from + "X-Mozilla-Status: 0001\nSubject: b\n\nx\n\n"})
	f := startFarm(t, sqlite.Options{})
	r := f.importAt(t, root, importer.Run{})
	want := []kept{{UID: 1, Flags: []string{`\Seen`, `\Deleted`}, Text: "Subject: a\r\n\r\nx\r\n"}, {UID: 2, Flags: []string{`\Seen`}, Text: "Subject: b\r\n\r\nx\r\n"}}
	got := f.boxes(t)["INBOX"].messages
	for i := range got {
		slices.Sort(got[i].Flags)
		slices.Sort(want[i].Flags)
	}
	if r.Filed != 2 || r.Skipped != 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "1 messages had been deleted") || !equal(got, want) {
		t.Errorf("%+v, %+v", r, got)
	}
}

// TestLongNamesStayApart: names that are alike up to where they are too long are two.
func TestLongNamesStayApart(t *testing.T) {
	long, deep := strings.Repeat("é", 130), strings.Repeat("level/", 30)
	for _, name := range []string{long, deep} {
		a, b := importer.MailboxName(name+"a"), importer.MailboxName(name+"b")
		if a == b || len(a) > 2000 || a != importer.MailboxName(name+"a") {
			t.Errorf("%q and %q", a, b)
		}
	}
}

// equal compares but for times.
func equal(got, want []kept) bool {
	return slices.EqualFunc(got, want, func(a, b kept) bool {
		return a.UID == b.UID && a.Text == b.Text && slices.Equal(a.Flags, b.Flags)
	})
}

func TestMboxTrees(t *testing.T) {
	t.Parallel()
	one := func(subject string) string { return from + "Subject: " + subject + "\n\n>From me\n\n" }
	files := map[string]string{
		"Inbox": one("a"), "Inbox.msf": "x", "Inbox.sbd/Old": one("b"), "Inbox.sbd/Old.sbd/2001.mbox": one("c"), ".Mail.directory/KMail": one("d"), "Apple.mbox/mbox": one("e"),
		"Apple.mbox/table_of_contents": "\x00\x01", "Nothing": "", "notes.txt": "dear diary", "__MACOSX/x": one("f"),
	}
	want := []string{"INBOX", "Apple", "Inbox/Old", "Inbox/Old/2001", "Mail/KMail", "Nothing"}
	root := t.TempDir()
	write(t, root, files)
	packed := filepath.Join(t.TempDir(), "all.zip")
	zipped(t, packed, root)
	for name, path := range map[string]string{"tree": root, "zip": packed} {
		f := startFarm(t, sqlite.Options{})
		r := f.importAt(t, path, importer.Run{})
		var got []string
		for _, x := range r.Folders {
			got = append(got, x.From+" "+x.Folder)
		}
		boxes := f.boxes(t)
		for _, b := range want {
			b = strings.Replace(b, "Inbox/", "INBOX/", 1)
			if boxes[b].Mailbox == nil || b != "Nothing" && (len(boxes[b].messages) != 1 || !strings.HasSuffix(boxes[b].messages[0].Text, "\r\n\r\nFrom me\r\n")) {
				t.Errorf("%s: %s: %v, %+v", name, b, boxes[b].Mailbox, boxes[b].messages)
			}
		}
		if len(r.Folders) != len(want) || len(r.Notes) != 1 && name == "tree" || r.Filed != 5 || boxes["INBOX"].messages[0].Received != 1_605_953_472 {
			t.Errorf("%s: %+v, folders %q", name, r, got)
		}
		// Another place has keys of its own.
		if r := f.importAt(t, path, importer.Run{Into: "Old/Server"}); r.Filed != 5 || r.Folders[0].Folder != "Old/Server" || r.Folders[1].Folder != "Old/Server/Apple" {
			t.Errorf("%s: into: %+v", name, r.Folders[0])
		}
	}
}

// zipped packs a directory.
func zipped(t testing.TB, path, root string) {
	t.Helper()
	out, err := os.Create(path)
	check(t, err)
	z := zip.NewWriter(out)
	check(t, z.AddFS(os.DirFS(root)))
	// Names that lead elsewhere are no folders.
	w, err := z.Create("../../evil")
	check(t, err)
	_, err = w.Write([]byte("nothing"))
	check(t, err)
	check(t, z.Close())
	check(t, out.Close())
}

func TestBombIsLeft(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bomb.zip")
	out, err := os.Create(path)
	check(t, err)
	z := zip.NewWriter(out)
	w, err := z.Create("bomb")
	check(t, err)
	_, err = w.Write([]byte(from + "Subject: x\n\n"))
	check(t, err)
	zeros := make([]byte, 1<<20)
	for range 80 {
		_, err = w.Write(zeros)
		check(t, err)
	}
	check(t, z.Close())
	check(t, out.Close())
	r := startFarm(t, sqlite.Options{}).importAt(t, path, importer.Run{})
	if r.Skipped != 1 || r.Filed != 0 || !strings.Contains(r.Left[0].Why, "compressed more") {
		t.Errorf("%+v", r)
	}
}

func TestOverQuota(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root, map[string]string{"mbox": from + "Subject: a\n\nx\n\n" + from + "Subject: b\n\nx\n\n"})
	f := startFarm(t, sqlite.Options{QuotaMessages: 1})
	a, err := archive.Open(root, archive.Options{})
	check(t, err)
	defer a.Close()
	run := importer.Run{Imports: f.imports, Account: account}
	if _, err := run.Import(t.Context(), a); status.Code(errors.Unwrap(err)) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
	if r := f.importAt(t, root, importer.Run{OverQuota: true}); r.Filed != 2 {
		t.Errorf("%+v", r)
	}
}

// flaky is a store whose answers are lost now and then, after or before it has done what it was asked.
type flaky struct {
	storev1.ImportsClient
	calls, every int
}

type flakyStream struct {
	grpc.ClientStreamingClient[storev1.ImportRequest, storev1.ImportResponse]
	before bool
	cancel context.CancelFunc
}

func (f *flaky) Import(ctx context.Context, opts ...grpc.CallOption) (grpc.ClientStreamingClient[storev1.ImportRequest, storev1.ImportResponse], error) {
	f.calls++
	if f.calls%f.every != 0 {
		return f.ImportsClient.Import(ctx, opts...)
	}
	ctx, cancel := context.WithCancel(ctx)
	s, err := f.ImportsClient.Import(ctx, opts...)
	return &flakyStream{s, f.calls%(2*f.every) == 0, cancel}, err
}

var errLost = status.Error(codes.Unavailable, "lost")

func (s *flakyStream) CloseAndRecv() (*storev1.ImportResponse, error) {
	if s.before {
		s.cancel()
	}
	if _, err := s.ClientStreamingClient.CloseAndRecv(); err == nil || s.before {
		return nil, errLost
	}
	return nil, errLost
}

// TestManyMessages brings many messages with answers that are lost, in runs that are cut off: each is there once, and memory
// does not grow with them. In long form they are 100,000.
func TestManyMessages(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 2_000
	}
	root := t.TempDir()
	file, err := os.Create(filepath.Join(root, "mbox"))
	check(t, err)
	padding := strings.Repeat("0123456789abcdef\n", 100)
	for i := range n {
		fmt.Fprintf(file, "%sSubject: %d\nX-UID: %d\n\n%s\n", from, i, 3*i+1, padding)
	}
	check(t, file.Close())
	f := startFarm(t, sqlite.Options{})
	var most uint64
	runs := 0
	for done := false; !done; runs++ {
		ctx, cancel := context.WithCancel(t.Context())
		batches := 0
		a, err := archive.Open(root, archive.Options{})
		check(t, err)
		run := importer.Run{Imports: &flaky{ImportsClient: f.imports, every: 3}, Account: account, Retry: []time.Duration{time.Microsecond, time.Microsecond},
			Progress: func(*importer.Report) {
				if batches++; batches >= n/1000 && runs < 3 {
					cancel() // as a kill between two batches
				}
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}}
		r, err := run.Import(ctx, a)
		cancel()
		check(t, a.Close())
		if done = err == nil; done {
			if r.Sum(); r.Messages != n || r.Filed+r.Present != n {
				t.Errorf("%+v", r.Counts)
			}
		}
	}
	if runs < 4 {
		t.Errorf("only %d runs", runs)
	}
	if most > 200<<20 {
		t.Errorf("%d MiB of memory", most>>20)
	}
	in := f.boxes(t)["INBOX"]
	if int(in.Messages) != n || len(in.messages) != n {
		t.Fatalf("%d messages of %d", in.Messages, n)
	}
	for i, m := range in.messages {
		if !strings.HasPrefix(m.Text, fmt.Sprintf("Subject: %d\r\n", i)) {
			t.Fatalf("message %d: %.40q", i, m.Text)
		}
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root, map[string]string{"m/cur/1:2,": "a: b\n", "m/new/": "", "b/x": from + "a: b\n\n", "n/x": "none", "e/": ""})
	for _, tt := range []struct {
		path string
		opts archive.Options
		want error
		ok   bool
	}{
		{"m", archive.Options{Format: archive.Maildir}, nil, true}, {"m", archive.Options{Format: archive.Mbox}, nil, false},
		{"b", archive.Options{}, nil, true}, {"b/x", archive.Options{Format: archive.Mbox}, nil, true}, {"b/x", archive.Options{Format: archive.Zip}, nil, false},
		{"n", archive.Options{}, archive.ErrFormat, false}, {"e", archive.Options{}, archive.ErrFormat, false}, {"n/x", archive.Options{}, nil, false},
		{"nowhere", archive.Options{}, os.ErrNotExist, false},
	} {
		a, err := archive.Open(filepath.Join(root, tt.path), tt.opts)
		if (err == nil) != tt.ok || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s, %+v: %v", tt.path, tt.opts, err)
		}
		if err == nil && (len(a.Folders) != 1 || !reflect.DeepEqual(a.Doubts, []archive.Doubt(nil))) {
			t.Errorf("%s: %+v", tt.path, a)
		}
		if err == nil {
			check(t, a.Close())
		}
	}
}
