package archive

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/filelock"
	"github.com/mailfarm/mailfarm/internal/mbox"
)

// step is one call of an export.
type step struct {
	folder string // with this the folder before is closed, and one is begun
	uid    uint32
	point  bool // a checkpoint
}

// script exports two folders, the first with several checkpoints.
func script() (steps []step) {
	for _, folder := range []string{"INBOX", "Work/2026"} {
		steps = append(steps, step{folder: folder})
		for uid := uint32(1); uid <= 7; uid++ {
			steps = append(steps, step{uid: uid})
			if uid%3 == 0 {
				steps = append(steps, step{point: true})
			}
		}
	}
	return steps
}

// play exports, up to a step; missing can not be read. It tells how many messages were there.
func play(t *testing.T, w Writer, next uint32, missing uint32, steps []step, each func()) (there int) {
	t.Helper()
	var f FolderWriter
	for _, s := range steps {
		var err error
		switch {
		case s.folder != "":
			if f != nil {
				err = f.Close()
				each()
			}
			if err == nil {
				f, err = w.Folder(FolderInfo{Name: s.folder, UIDValidity: 9, UIDNext: next})
			}
		case s.point:
			err = f.Checkpoint()
		default:
			item := &Item{UID: s.uid, Received: time.Unix(1e9, 0), Saved: time.Unix(1e9, 0)}
			var has bool
			if has, _, err = f.Has(item); err == nil && !has && s.uid != missing {
				_, _, err = f.Put(item, strings.NewReader(fmt.Sprintf("Subject: %d\r\n\r\nFrom me\r\n%s", s.uid, strings.Repeat("x\r\n", 20_000))))
			}
			if has {
				there++
			}
		}
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		each()
	}
	return there
}

func end(t *testing.T, w Writer, last FolderWriter) {
	t.Helper()
	if last != nil {
		if err := last.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(nil); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, path string, format Format) Writer {
	t.Helper()
	w, err := Create(path, format, mbox.RD, "alice")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// closed ends the folder of the last step, as the next one would.
func closed(t *testing.T, w Writer) {
	t.Helper()
	m, ok := w.(*mboxWriter)
	if z, isZip := w.(*zipWriter); isZip {
		m, ok = z.mboxWriter, true
	}
	if !ok {
		t.Fatalf("%T", w)
	}
	end(t, w, m.current)
}

// files are those below a directory or in a zip file, but for a lock that was left behind.
func files(t *testing.T, path string) map[string]string {
	t.Helper()
	fsys := os.DirFS(path)
	if strings.HasSuffix(path, ".zip") {
		z, err := zip.OpenReader(path)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		fsys = z
	}
	all := map[string]string{}
	if err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == lockName {
			return err
		}
		f, err := fsys.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		all[name] = string(b)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestGoesOn cuts off exports behind each step, and loses what was not flushed or not: the next one goes on behind the last
// checkpoint, and what it writes is what one export would have written.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	for name, format := range map[string]Format{"b": Mbox, "z.zip": Zip} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			whole := filepath.Join(root, "whole", name)
			if err := os.MkdirAll(filepath.Dir(whole), 0o700); err != nil {
				t.Fatal(err)
			}
			w := create(t, whole, format)
			play(t, w, 20, 0, script(), func() {})
			closed(t, w)
			want := files(t, whole)
			if len(want) != 2 || len(want["INBOX.mbox"]) < 7*20_000 {
				t.Fatalf("one export wrote %d files", len(want))
			}
			// What is on the disk behind each step.
			var cuts []string
			from := filepath.Join(root, "cut")
			if err := os.MkdirAll(from, 0o700); err != nil {
				t.Fatal(err)
			}
			w = create(t, filepath.Join(from, name), format)
			play(t, w, 15, 0, script(), func() {
				cut := filepath.Join(root, fmt.Sprint(len(cuts)))
				cuts = append(cuts, cut)
				if err := os.CopyFS(cut, os.DirFS(from)); err != nil {
					t.Fatal(err)
				}
			})
			w.Abort()
			cuts = append(cuts, from)
			most := 0
			for i, cut := range cuts {
				path := filepath.Join(cut, name)
				spoil(t, cut)
				w := create(t, path, format)
				there := play(t, w, 20, 0, script(), func() {})
				closed(t, w)
				if got := files(t, path); !reflect.DeepEqual(got, want) {
					t.Errorf("cut off behind step %d: %d files, %d octets of INBOX, want %d, %d", i, len(got), len(got["INBOX.mbox"]), len(want), len(want["INBOX.mbox"]))
				}
				if there < most {
					t.Errorf("cut off behind step %d: %d messages were there, and %d one step before", i, there, most)
				}
				most = max(most, there)
			}
			if most < 12 {
				t.Errorf("at most %d messages were there", most)
			}
		})
	}
}

// spoil adds to what is not whole, as writes do that a cut tore.
func spoil(t *testing.T, root string) {
	t.Helper()
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, partSuffix) && d.Name() != journalName {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteString(`{"file":"INBOX.mbox","last":99`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestOneAtATime: while an export writes, another one into the same path is refused; behind its end, or a cut, there can be one.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	for name, format := range map[string]Format{"b": Mbox, "z.zip": Zip} {
		path := filepath.Join(t.TempDir(), "new", name)
		refused := func() {
			t.Helper()
			if _, err := Create(path, format, mbox.RD, "alice"); !errors.Is(err, filelock.ErrHeld) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
				t.Errorf("%s: a second export: %v", name, err)
			}
		}
		w := create(t, path, format)
		refused()
		play(t, w, 20, 0, script()[:9], func() {})
		refused()
		w.Abort()
		w = create(t, path, format)
		refused()
		play(t, w, 20, 0, script(), func() {})
		closed(t, w)
		if got := strings.Count(files(t, path)["INBOX.mbox"], "\nSubject: "); got != 7 {
			t.Errorf("%s: %d messages, want 7", name, got)
		}
		create(t, path, format).Abort()
	}
}

// TestGoesOnWithOthers: what an earlier export could not read is tried again, and what is not its own is made anew.
func TestGoesOnWithOthers(t *testing.T) {
	t.Parallel()
	subjects := func(path string) (list []string) {
		for line := range strings.Lines(files(t, path)["INBOX.mbox"]) {
			if s, ok := strings.CutPrefix(line, "Subject: "); ok {
				list = append(list, strings.TrimSpace(s))
			}
		}
		return list
	}
	path := filepath.Join(t.TempDir(), "b")
	w := create(t, path, Mbox)
	play(t, w, 20, 2, script()[:9], func() {}) // to the second checkpoint
	w.Abort()
	w = create(t, path, Mbox)
	if there := play(t, w, 20, 0, script()[:10], func() {}); there != 5 {
		t.Errorf("%d messages were there, want 5", there)
	}
	closed(t, w)
	if got := strings.Join(subjects(path), ""); got != "1345627" {
		t.Errorf("subjects %s", got)
	}
	for name, again := range map[string]func(path string) (Writer, error){
		"ended":           func(path string) (Writer, error) { return Create(path, Mbox, mbox.RD, "alice") },
		"another dialect": func(path string) (Writer, error) { return Create(path, Mbox, mbox.CL2, "alice") },
		"somebody else's": func(path string) (Writer, error) { return Create(path, Mbox, mbox.RD, "bob") },
		"long ago": func(path string) (Writer, error) {
			old := time.Now().Add(-journalFor - time.Hour)
			if err := os.Chtimes(filepath.Join(path, journalName), old, old); err != nil {
				return nil, err
			}
			return Create(path, Mbox, mbox.RD, "alice")
		},
		"a file is gone": func(path string) (Writer, error) {
			if err := os.Remove(filepath.Join(path, "INBOX.mbox"+partSuffix)); err != nil {
				return nil, err
			}
			return Create(path, Mbox, mbox.RD, "alice")
		},
	} {
		path := filepath.Join(t.TempDir(), "b")
		w := create(t, path, Mbox)
		play(t, w, 20, 0, script()[:9], func() {})
		if name == "ended" {
			closed(t, w)
		} else {
			w.Abort()
		}
		w, err := again(path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if there := play(t, w, 20, 0, script()[:10], func() {}); there != 0 {
			t.Errorf("%s: %d messages were there", name, there)
		}
		closed(t, w)
		if got := strings.Join(subjects(path), ""); got != "1234567" {
			t.Errorf("%s: subjects %s", name, got)
		}
	}
}
