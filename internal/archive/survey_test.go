package archive

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/maildir"
	"github.com/mailfarm/mailfarm/internal/mbox"
)

const box = "From alice@example.org Sat Nov 21 10:11:12 2026\nSubject: x\n\nx\n\n"

// plant makes files below a directory; a name that ends in "/" is of a directory, a text "-> x" a symbolic link.
func plant(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range files {
		at := filepath.Join(root, name)
		dir := filepath.Dir(at)
		if strings.HasSuffix(name, "/") {
			dir = at
		}
		err := os.MkdirAll(dir, 0o700)
		if to, ok := strings.CutPrefix(text, "-> "); ok && err == nil {
			err = os.Symlink(to, at)
		} else if dir != at && err == nil {
			err = os.WriteFile(at, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// pack writes a zip file of names and texts in turn.
func pack(t *testing.T, files ...string) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "x.zip")
	f, err := os.Create(at)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		if err == nil {
			_, err = io.WriteString(w, files[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return at
}

// found tells the folders at a path with how many messages each has, and what is left: "name n" and "!where".
func found(t *testing.T, at string) (list []string) {
	t.Helper()
	a, err := Open(at, Options{})
	if err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	defer a.Close()
	left := a.Left
	for _, f := range a.Folders {
		r, err := f.Open()
		if err != nil {
			left = append(left, Doubt{f.Path, err})
			continue
		}
		n := 0
		for {
			m, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			body, err := m.Open()
			if err == nil {
				_, err = io.Copy(io.Discard, body)
				body.Close()
			}
			if err == nil {
				n++
			}
		}
		left = append(left, r.Left()...)
		list = append(list, fmt.Sprint(f.Name, " ", n))
		r.Close()
	}
	for _, l := range left {
		list = append(list, "!"+l.Where)
	}
	slices.Sort(list)
	return list
}

// TestNothingIsPassedOver: every folder of a tree is read or told, however it lies there.
func TestNothingIsPassedOver(t *testing.T) {
	t.Parallel()
	const m = "Subject: x\n\nx\n"
	for _, tt := range []struct {
		name string
		tree map[string]string
		want []string
	}{
		{"directories within each other, of which some have no messages", map[string]string{"cur/1.a:2,S": m, "new/": "", "tmp/": "", "Archive/2020/cur/1.b:2,": m, "Archive/2020/new/": "",
			"Archive/2020/Deep/er/new/1.c": m, "Archive/2020/Deep/er/cur/": "", "sieve/main.sieve": "keep;", "new/2.d": m}, []string{"Archive/2020 1", "Archive/2020/Deep/er 1", "INBOX 2"}},
		{"the same without INBOX", map[string]string{"Archive/2020/cur/1.b:2,": m, "Archive/2020/new/": ""}, []string{"Archive/2020 1"}},
		{"without new or cur", map[string]string{"cur/1.a:2,S": m, "new/": "", ".Sub/cur/1.y:2,S": m, ".New/new/1700000000.z": m, ".New.None/": "", "Plain/cur/1.a:2,": m, "Plain/tmp/": ""},
			[]string{"INBOX 1", "New 1", "Plain 1", "Sub 1"}},
		{"mboxes in a directory called new", map[string]string{"new/2020.mbox": box, "new/a": box}, []string{"new/2020 1", "new/a 1"}},
		{"mboxes in a directory called cur", map[string]string{"cur/2020.mbox": box, "cur/a": box}, []string{"cur/2020 1", "cur/a 1"}},
		{"mboxes beside a Maildir", map[string]string{"cur/": "", "new/": "", "sent": box, "Old/2020": box, "dovecot-uidvalidity": "", "notes": "dear diary"}, []string{"INBOX 0", "Old/2020 1", "sent 1"}},
		{"KMail's", map[string]string{"cur/": "", "new/": "", "a/cur/": "", "a/new/1.x": m, ".a.directory/b/cur/": "", ".a.directory/b/new/1.x": m}, []string{"INBOX 0", "a 1", "a/b 1"}},
		{"a Maildir below a Maildir++ folder", map[string]string{"cur/": "", "new/": "", ".a/cur/": "", ".a/new/": "", ".a/b/cur/1:2,": m}, []string{"INBOX 0", "a 0", "a/b 1"}},
		{"links in a Maildir", map[string]string{"cur/1.a:2,": m, "cur/2.b:2,": "-> 1.a:2,", "new/": "", ".Linked": "-> /elsewhere", ".Here": "-> cur", ".dovecot.sieve": "-> sieve/x", "x": "-> y"},
			[]string{"!.Here", "!.Linked", "!cur/2.b:2,", "!x", "INBOX 1"}},
		{"cur is a link", map[string]string{"cur": "-> /elsewhere", "new/1.x": m, "tmp/": ""}, []string{"!cur", "INBOX 1"}},
		{"links among mboxes", map[string]string{"a": box, "b": "-> a", "Dir/c": "-> /elsewhere", "d": "-> Dir"}, []string{"!Dir/c", "!b", "!d", "a 1"}},
		{"nothing but links", map[string]string{"a": "-> /elsewhere"}, []string{"!a"}},
		{"an export that was cut off", map[string]string{"a.mbox": box, "b.mbox.part": box}, []string{"!b.mbox.part", "a 1"}},
		{"line ends of old Macs", map[string]string{"a": strings.ReplaceAll(box, "\n", "\r"), "b": box}, []string{"!a", "b 1"}},
		{"a byte order mark", map[string]string{"a": mbox.ByteOrderMark + box}, []string{"a 1"}},
		{"too deep", map[string]string{strings.Repeat("d/", 60) + "a": box, "b": box}, []string{"!" + strings.TrimSuffix(strings.Repeat("d/", 41), "/"), "b 1"}},
	} {
		if got := found(t, plant(t, tt.tree)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	subscribed := plant(t, map[string]string{"cur/": "", "new/": "", "a/b/cur/1:2,": m, "a/c/cur/1:2,": m, "subscriptions": "a/b\n"})
	a, err := Open(subscribed, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, f := range a.Folders {
		if f.Subscribed != (f.Name != "a/c") {
			t.Errorf("%s: subscribed %t", f.Name, f.Subscribed)
		}
	}
}

// TestUnreadableFolderIsLeft: the others are read.
func TestUnreadableFolderIsLeft(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("nothing is unreadable for root")
	}
	t.Parallel()
	root := plant(t, map[string]string{"a": box, "b/c": box, "d": box})
	for _, name := range []string{"b", "d"} {
		if err := os.Chmod(filepath.Join(root, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(filepath.Join(root, "b"), 0o700)
	if got := found(t, root); !slices.Equal(got, []string{"!b", "!d", "a 1"}) {
		t.Errorf("got %q", got)
	}
}

func TestZipNames(t *testing.T) {
	t.Parallel()
	const m = "Subject: x\n\nx\n"
	for _, tt := range []struct {
		name  string
		files []string
		want  []string
	}{
		{"no entries of directories", []string{"M/cur/1.a:2,", m, "M/cur/2.a:2,", m, "M/cur/3.a:2,", m, "M/.Work/cur/1.a:2,", m, "M/.Work/new/2.a", m}, []string{"M 3", "M/Work 2"}},
		{"from Windows", []string{`Mail\Old\2020`, box, `Mail\new`, box}, []string{"Mail/Old/2020 1", "Mail/new 1"}},
		{"a backslash in a name", []string{`Mail/a\b`, box, "Mail/c", box}, []string{"Mail/c 1", `Mail/a\b 1`}},
		{"twice", []string{"a/x", "half", "a/x", box, "a/y", box, "b", box, "b", box}, []string{"!a/x", "a/x 1", "a/y 1", "b 1"}},
		{"a file and a directory", []string{"a/x", box, "a", box, "b", box, "b/x", box}, []string{"!a", "!b/x", "a/x 1", "b 1"}},
		{"names that lead elsewhere", []string{"../../evil", box, "/etc/mail", box}, []string{"etc/mail 1", "evil 1"}},
		{"too deep", []string{strings.Repeat("d/", 60) + "a", box, "b", box}, []string{"!" + strings.Repeat("d/", 60) + "a", "b 1"}},
	} {
		got := found(t, pack(t, tt.files...))
		slices.Sort(tt.want)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestZipOfLinksAndSecrets: what is a symbolic link in a zip file, or encrypted, is left.
func TestZipOfLinksAndSecrets(t *testing.T) {
	t.Parallel()
	at := filepath.Join(t.TempDir(), "x.zip")
	f, err := os.Create(at)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	link := &zip.FileHeader{Name: "link"}
	link.SetMode(os.ModeSymlink | 0o777)
	for _, h := range []*zip.FileHeader{{Name: "a"}, link, {Name: "secret", Flags: encrypted}} {
		w, err := z.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(w, box)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if got := found(t, at); !slices.Equal(got, []string{"!link", "!secret", "a 1"}) {
		t.Errorf("got %q", got)
	}
}

// TestExportsHaveNoBackslash: names in zip files have none, and come back.
func TestExportsHaveNoBackslash(t *testing.T) {
	t.Parallel()
	names := []string{`a\b`, `a\b/ü\&AFw-`, "c&AFw-", `long` + strings.Repeat(`\x`, 120), "INBOX"}
	at := filepath.Join(t.TempDir(), "x.zip")
	w, err := Create(at, Zip, mbox.RD, "alice")
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		f, err := w.Folder(FolderInfo{Name: name, UIDValidity: uint32(i + 1), UIDNext: 2})
		if err == nil {
			_, _, err = f.Put(&Item{UID: 1, Received: time.Unix(1e9, 0)}, strings.NewReader("Subject: x\r\n\r\n"))
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(nil); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range names {
		want = append(want, name+" 1")
	}
	slices.Sort(want)
	if got := found(t, at); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	z, err := zip.OpenReader(at)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		if strings.Contains(f.Name, `\`) {
			t.Errorf("%q has a backslash", f.Name)
		}
	}
	if maildir.DecodeName(backslash) != `\` {
		t.Errorf("%q is %q", backslash, maildir.DecodeName(backslash))
	}
}

// FuzzZipNames: whatever the names are, each file is in the list of its directory, or told.
func FuzzZipNames(f *testing.F) {
	f.Add("a/b\na\n../..\n/\n\\\na//b/./c/\n\n.\x00/x\na")
	f.Add(`a\b` + "\n" + `..\..\c`)
	f.Fuzz(func(t *testing.T, names string) {
		var files []*zip.File
		for name := range strings.SplitSeq(names, "\n") {
			files = append(files, &zip.File{FileHeader: zip.FileHeader{Name: name, CRC32: uint32(len(files))}})
		}
		tree := newZipTree(files)
		n := 0
		if err := fs.WalkDir(tree, ".", func(at string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				n++
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, f := range files {
			if name := path.Clean("/" + f.Name); name != "/" && !strings.HasSuffix(f.Name, "/") {
				want++
			}
		}
		if told := len(tree.lost) + len(tree.doubts); n+told < want && strings.Contains(names, "/") {
			t.Fatalf("%d files and %d told of %d", n, told, want)
		}
	})
}
