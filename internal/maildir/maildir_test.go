package maildir_test

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/mailfarm/mailfarm/internal/maildir"
)

func file(text string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(text), ModTime: time.Unix(1_700_000_000, 0)}
}

func TestRead(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte("A: z\n\n"))
	w.Close()
	fsys := fstest.MapFS{
		"m/cur/1.a.host,S=7,W=9:2,FSab": file("A: 1\n\nx"), "m/cur/2.b.host:2,DPRT": file("A: 2\r\n\r\nbare\nlf\r\n"), "m/new/3.c.host": file(z.String()),
		"m/cur/9.d.host;2,S": file("A: 4\n"), "m/cur/.hidden": file("x"), "m/cur/dir/x": file("x"), "m/new/4.e": file("\xfd7zXZ\x00\x00\x04abc"), "m/tmp/5.f": file("half"),
		"m/dovecot-keywords": file("0 $Work\n1 later\n30 none\n"),
		"m/dovecot-uidlist":  file("3 V1234 N900 Gabc\n800 P00f3 W9 :2.b.host\n17 :9.d.host\n5 W1 :1.a.host,S=7,W=9\nnonsense\n"),
		"m/subscriptions":    file("V\t2\n\nINBOX\nWork\t2026\n"), "n/subscriptions": file("Work.2026\nSent\n"), "n/courierimapsubscribed": file("INBOX\nINBOX.&AOQ-.b\n"),
	}
	if !maildir.Is(fsys, "m") || maildir.Is(fsys, "n") || maildir.Is(fsys, "m/cur") {
		t.Error("Is")
	}
	f, err := maildir.Open(fsys, "m")
	if err != nil {
		t.Fatal(err)
	}
	if f.UIDValidity != 1234 || f.UIDNext != 900 || len(f.Doubts) != 0 || len(f.Left) != 1 || f.Left[0].Path != "cur/dir" {
		t.Errorf("UIDVALIDITY %d, UIDNEXT %d, doubts %v, left %v", f.UIDValidity, f.UIDNext, f.Doubts, f.Left)
	}
	want := []struct {
		uid   uint32
		uidl  string
		flags []string
		text  string
		err   error
	}{
		{5, "", []string{`\Flagged`, `\Seen`, "$Work", "later"}, "A: 1\r\n\r\nx", nil},
		{17, "", []string{`\Seen`}, "A: 4\r\n", nil},
		{800, "00f3", []string{`\Draft`, "$Forwarded", `\Answered`, `\Deleted`}, "A: 2\r\n\r\nbare\nlf\r\n", nil},
		{0, "", nil, "A: z\r\n\r\n", nil},
		{0, "", nil, "", maildir.ErrCompressed},
	}
	if len(f.Messages) != len(want) {
		t.Fatalf("%d messages: %+v", len(f.Messages), f.Messages)
	}
	for i, w := range want {
		m := &f.Messages[i]
		if m.UID != w.uid || m.UIDL != w.uidl || !slices.Equal(m.Flags, w.flags) {
			t.Errorf("message %d: %+v, want %+v", i, m, w)
		}
		r, err := f.Read(m)
		if !errors.Is(err, w.err) {
			t.Errorf("message %d: %v, want %v", i, err, w.err)
		}
		if err != nil {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil || string(b) != w.text || m.Received.Unix() != 1_700_000_000 {
			t.Errorf("message %d: %q, %v, of %v", i, b, err, m.Received)
		}
		r.Close()
	}
	for dir, want := range map[string][]string{"m": {"INBOX", "Work/2026"}, "n": {"Work/2026", "Sent", "INBOX", "ä/b"}, "x": nil} {
		if got, err := maildir.Subscriptions(fsys, dir); err != nil || !slices.Equal(got, want) {
			t.Errorf("subscriptions of %s: %q, %v", dir, got, err)
		}
	}
}

func TestUIDLists(t *testing.T) {
	for _, tt := range []struct {
		name, list     string
		validity, next uint32
		uid            uint32
		doubts         int
	}{
		{"none", "", 0, 0, 0, 0},
		{"version 1", "1 77 100\n12 1.a\n", 77, 100, 12, 0},
		{"version 3", "3 V77 N100\n12 P1 :1.a\n", 77, 100, 12, 0},
		{"with flags in it", "3 V77 N100\n12 :1.a:2,S\n", 77, 100, 12, 0},
		{"twice", "3 V77 N100\n12 :1.a\n13 :1.a\n", 77, 100, 13, 0},
		{"version 2", "2 77 100\n", 0, 0, 0, 1},
		{"nonsense", "x\n", 0, 0, 0, 1},
		{"out of range", "3 V99999999999 N1\n0 :1.a\n", 0, 1, 0, 0},
	} {
		fsys := fstest.MapFS{"cur/1.a:2,": file("A: 1\n"), "new/.x": file("")}
		if tt.list != "" {
			fsys["dovecot-uidlist"] = file(tt.list)
		}
		f, err := maildir.Open(fsys, ".")
		if err != nil || f.UIDValidity != tt.validity || f.UIDNext != tt.next || f.Messages[0].UID != tt.uid || len(f.Doubts) != tt.doubts {
			t.Errorf("%s: %+v, %v", tt.name, f, err)
		}
	}
}

func TestFolderNames(t *testing.T) {
	for dir, want := range map[string]string{".Work": "Work", ".Work.2026": "Work/2026", ".Entw&APw-rfe": "Entwürfe", ".a&-b": "a&b", ".a&b": "a&b",
		".Größe": "Größe", ".&2D3eAA-": "😀", ".&AGE": "&AGE", ".\xff": "_"} {
		if got := maildir.FolderName(dir); got != want {
			t.Errorf("%q: got %q, want %q", dir, got, want)
		}
	}
}

var texts = []string{"Subject: a\r\n\r\nx\r\n", "Subject: b\r\n\r\nbare\nlf\r\n", "Subject: c\r\n\r\nno end", "Subject: d\r\n\r\n" + strings.Repeat("y", 70_000) + "\r\n", "",
	"Subject: e\nall\nbare\n", "\nSubject: f\r\n", "\x1f\x8b\x08\x00packed\n", "BZh91AY&SY packed\n", "\x28\xb5\x2f\xfd\r\n", "\r", "BZhang: g\r\n\r\n"}

func TestRoundTrip(t *testing.T) {
	root := t.TempDir()
	tree, err := maildir.Create(root)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_600_000_000, 0)
	write := func(flags ...string) {
		t.Helper()
		for _, name := range []string{"INBOX", "Entwürfe/2026"} {
			s, err := tree.Folder(name, 77)
			if err != nil || s.Directory != "" {
				t.Fatal(err)
			}
			for i, text := range texts {
				m := &maildir.Message{UID: uint32(10 * (i + 1)), UIDL: fmt.Sprint("u", i), Received: at.Add(time.Duration(i) * time.Second), Flags: flags}
				there, lost, err := s.Has(m)
				if err == nil && !there {
					lost, err = s.Put(m, strings.NewReader(text))
				}
				if err != nil || len(lost) != 0 {
					t.Fatal(lost, err)
				}
			}
			if err := s.Close(1000); err != nil {
				t.Fatal(err)
			}
		}
		if err := tree.Subscribe([]string{"INBOX", "Entwürfe/2026"}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(flags ...string) {
		t.Helper()
		for _, dir := range []string{".", ".Entw&APw-rfe.2026"} {
			f, err := maildir.Open(os.DirFS(root), dir)
			if err != nil || f.UIDValidity != 77 || f.UIDNext != 1000 || len(f.Messages) != len(texts) || len(f.Doubts) != 0 {
				t.Fatalf("%s: %+v, %v", dir, f, err)
			}
			for i := range f.Messages {
				m := &f.Messages[i]
				r, err := f.Read(m)
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(r)
				r.Close()
				if err != nil || string(b) != texts[i] || m.UID != uint32(10*(i+1)) || m.UIDL != fmt.Sprint("u", i) ||
					!m.Received.Equal(at.Add(time.Duration(i)*time.Second)) || !reflect.DeepEqual(m.Flags, flags) {
					t.Errorf("%s: %+v, %.40q, %v", dir, m, b, err)
				}
			}
		}
		if got, err := maildir.Subscriptions(os.DirFS(root), "."); err != nil || !slices.Equal(got, []string{"INBOX", "Entwürfe/2026"}) {
			t.Errorf("subscriptions: %q, %v", got, err)
		}
	}
	write(`\Flagged`, `\Seen`, "$Work")
	check(`\Flagged`, `\Seen`, "$Work")
	// What is left in tmp by a run that was killed goes, and flags are brought up to date.
	left := filepath.Join(root, "tmp", "1.V77U10.mailfarm,S=1,W=1")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	write(`\Seen`, "later")
	check(`\Seen`, "later")
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left in tmp: %v", err)
	}
	// A folder without room for more keywords says so.
	s, err := tree.Folder("Many", 1)
	if err != nil {
		t.Fatal(err)
	}
	var many []string
	for i := range 30 {
		many = append(many, fmt.Sprint("k", i))
	}
	if lost, err := s.Put(&maildir.Message{UID: 1, Flags: many}, strings.NewReader("x")); err != nil || len(lost) != 4 {
		t.Errorf("lost %v, %v", lost, err)
	}
	if err := s.Close(2); err != nil {
		t.Fatal(err)
	}
}

// TestNamesThatNoDirectoryHas exports mailboxes whose names are too long, have dots, or look like the directories of others: each
// has a directory of its own, also behind a repeat, and its name comes back.
func TestNamesThatNoDirectoryHas(t *testing.T) {
	root := t.TempDir()
	tree, err := maildir.Create(root)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("ü/", 19) + strings.Repeat("long ", 40)
	names := []string{"A.B", "A_B", "A/B", ".", "..", "./..", "a&b", long, long + "x", "A&AC4-B", strings.Repeat("x", 254), strings.Repeat("x", 255)}
	var dirs []string
	write := func(name string) string {
		t.Helper()
		s, err := tree.Folder(name, 7)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		m := &maildir.Message{UID: 1, Received: time.Unix(1, 0)}
		if there, _, err := s.Has(m); err != nil || !there {
			if _, err := s.Put(m, strings.NewReader(name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(2); err != nil {
			t.Fatal(err)
		}
		return s.Directory
	}
	for _, name := range names {
		if d := write(name); d != "" {
			dirs = append(dirs, d)
		}
	}
	// A mailbox whose name is the directory of another one.
	names = append(names, dirs[0][1:])
	for range 2 {
		for _, name := range names {
			write(name)
		}
	}
	entries, err := os.ReadDir(root)
	if err != nil || len(entries) != len(names) || len(dirs) < 6 {
		t.Errorf("%d directories for %d mailboxes, %v", len(entries), len(names), err)
	}
	fsys := os.DirFS(root)
	for _, e := range entries {
		name, noted, err := maildir.Mailbox(fsys, e.Name())
		if err != nil || !noted || !slices.Contains(names, name) {
			t.Fatalf("%s: %q, %v, %v", e.Name(), name, noted, err)
		}
		f, err := maildir.Open(fsys, e.Name())
		if err != nil || len(f.Messages) != 1 {
			t.Fatalf("%s: %+v, %v", e.Name(), f, err)
		}
		r, err := f.Read(&f.Messages[0])
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if r.Close(); err != nil || string(b) != name {
			t.Errorf("%s: %q has the message of %q, %v", e.Name(), name, b, err)
		}
	}
	// What was renamed since is called what its directory is called.
	if err := os.Rename(filepath.Join(root, ".A.B"), filepath.Join(root, ".C")); err != nil {
		t.Fatal(err)
	}
	if name, noted, err := maildir.Mailbox(fsys, ".C"); name != "C" || noted || err != nil {
		t.Errorf("renamed: %q, %v, %v", name, noted, err)
	}
}

// TestCompressed reads files as zlib plug-ins write them.
func TestCompressed(t *testing.T) {
	var g, z bytes.Buffer
	gw := gzip.NewWriter(&g)
	gw.Write([]byte("A: 1\n"))
	gw.Close()
	zw, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	zw.Write([]byte("A: 1\n"))
	zw.Close()
	bz := "BZh91AY&SYYQ\xd1\xee\x00\x00\x02\x5c\x00\x00\x10\x40\x00\x20\x10\x20\x00\x20\x00\x21\x86\x81\x9a\x0a\x1b\x71\x77\x24\x53\x85\x09\x05\x95\x1d\x1e\xe0"
	for name, tt := range map[string]struct {
		file, want string
		err        error
	}{
		"gzip": {g.String(), "A: 1\r\n", nil}, "zstd": {z.String(), "A: 1\r\n", nil}, "xz": {"\xfd7zXZ\x00\x00\x04abcdef", "", maildir.ErrCompressed},
		"text that begins so": {"BZhang: 1\nx: y\n", "BZhang: 1\r\nx: y\r\n", nil}, "bzip2": {bz, "A: 1\r\n", nil}, "broken bzip2": {bz[:len(bz)-4] + "none", "", bzip2.StructuralError("")},
	} {
		fsys := fstest.MapFS{"cur/1.a,S=5,W=6:2,": file(tt.file), "new/.x": file("")}
		f, err := maildir.Open(fsys, ".")
		if err != nil {
			t.Fatal(err)
		}
		r, err := f.Read(&f.Messages[0])
		if err == nil {
			var b []byte
			b, err = io.ReadAll(r)
			if err == nil && string(b) != tt.want {
				t.Errorf("%s: %q, want %q", name, b, tt.want)
			}
			r.Close()
		}
		if (err == nil) != (tt.err == nil) || errors.Is(tt.err, maildir.ErrCompressed) && !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", name, err, tt.err)
		}
	}
}

func FuzzLists(f *testing.F) {
	f.Add("3 V77 N100\n12 P1 :1.a\n", "0 a\n25 b\n", "V\t2\n\na\tb\n", "1.a:2,Sab")
	f.Add("1 77 100\n12 1.a\n", "x\n", "a.&AOQ-\n", "1.a")
	f.Fuzz(func(t *testing.T, uids, keywords, subscriptions, name string) {
		fsys := fstest.MapFS{"dovecot-uidlist": file(uids), "dovecot-keywords": file(keywords), "subscriptions": file(subscriptions), "new/1.a": file("x"), "cur/2.b:2,Sa": file("y")}
		d, err := maildir.Open(fsys, ".")
		if err != nil || len(d.Messages) != 2 {
			t.Fatalf("%+v, %v", d, err)
		}
		if _, err := maildir.Subscriptions(fsys, "."); err != nil && len(subscriptions) < 1<<20 {
			t.Fatal(err)
		}
		maildir.FolderName(name)
	})
}
