package importer_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/archive"
	"github.com/mailfarm/mailfarm/internal/exporter"
	"github.com/mailfarm/mailfarm/internal/importer"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/mbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// put files messages as an importer of its own would.
func (f *farm) put(t testing.TB, begin *storev1.ImportBegin, starts []*storev1.ImportStart, texts []string) {
	t.Helper()
	begin.Account, begin.Create = account, true
	stream, err := f.imports.Import(t.Context())
	check(t, err)
	check(t, stream.Send(&storev1.ImportRequest{Part: &storev1.ImportRequest_Begin{Begin: begin}}))
	for i, start := range starts {
		text := texts[i]
		start.Size = int64(len(text))
		check(t, stream.Send(&storev1.ImportRequest{Part: &storev1.ImportRequest_Start{Start: start}}))
		for len(text) > 0 {
			n := min(len(text), 64<<10)
			check(t, stream.Send(&storev1.ImportRequest{Part: &storev1.ImportRequest_Data{Data: []byte(text[:n])}}))
			text = text[n:]
		}
		check(t, stream.Send(&storev1.ImportRequest{Part: &storev1.ImportRequest_End{End: true}}))
	}
	_, err = stream.CloseAndRecv()
	check(t, err)
}

// seed fills a farm with what exports must bear. exact adds what only a Maildir keeps.
func (f *farm) seed(t testing.TB, exact bool) {
	t.Helper()
	texts := []string{
		"Return-Path: <bob@example.org>\r\nSubject: a\r\n\r\nFrom me\r\n>From you\r\n\r\nFrom x Sat Nov 21 10:11:12 2026\r\nA: 1\r\n\r\n",
		"Subject: b\r\n\r\n", "Subject: b\r\n\r\n",
		"Subject: large\r\n\r\n" + strings.Repeat("0123456789\r\n", 90_000) + strings.Repeat("x", 1000) + "\r\n",
		"Subject: status\r\nStatus: RO\r\nX-Mozilla-Status: 0009\r\nX-UID: 1\r\nX-UIDL: theirs\r\nX-Keywords: theirs\r\n\r\nx\r\n",
	}
	if exact {
		texts = append(texts, "Subject: bare\r\n\r\nbare\nlf\r\n", "Subject: no end\r\n\r\nx", "no header\r\n", "Subject: bare\nall\n", "\x1f\x8b\x08packed\r\n", "BZh91AY&SYx\n")
	}
	flags := [][]string{{`\Seen`, "$Work"}, {`\Flagged`, `\Answered`, "later"}, nil, {`\Draft`, `\Deleted`, "$Forwarded"}}
	for box, name := range []string{"INBOX", "Work/2026", "Work", "Entwürfe & more/a&-b"} {
		begin := &storev1.ImportBegin{Mailbox: name, UidValidity: uint32(1_700_000_100 - box), UidNext: 100_000, Subscribed: name == "Work"}
		var starts []*storev1.ImportStart
		for i := range texts {
			start := &storev1.ImportStart{Key: []byte{byte(i)}, Uid: uint32(17 + 1000*i), Flags: flags[i%4], ReceivedNs: int64(1_500_000_000+i) * 1e9, SavedNs: int64(1_600_000_000+i) * 1e9}
			if i == 1 {
				start.Uidl = "pop.1"
			}
			starts = append(starts, start)
		}
		f.put(t, begin, starts, texts)
	}
	f.put(t, &storev1.ImportBegin{Mailbox: "Nothing/here", UidValidity: 1_700_000_050, UidNext: 44}, nil, nil)
}

func (f *farm) exportTo(t testing.TB, path string, format archive.Format, dialect mbox.Dialect, folders ...string) *exporter.Report {
	t.Helper()
	w, err := archive.Create(path, format, dialect, "alice")
	check(t, err)
	run := &exporter.Run{Mailboxes: f.mailboxes, Bodies: f.bodies, Imports: f.imports, Account: account, Folders: folders}
	r, err := run.Export(t.Context(), w)
	check(t, err)
	return r
}

// same compares what two farms have.
func same(t *testing.T, got, want map[string]box, saved, subscribed bool) {
	t.Helper()
	for name, w := range want {
		g := got[name]
		if len(w.messages) == 0 && g.Mailbox == nil && name != "Nothing/here" {
			continue
		}
		if g.Mailbox == nil || g.UidValidity != w.UidValidity && (len(w.messages) > 0 || name == "Nothing/here") || g.UidNext != w.UidNext || subscribed && g.Subscribed != w.Subscribed {
			t.Errorf("%s: got %v, want %v", name, g.Mailbox, w.Mailbox)
			continue
		}
		if len(g.messages) != len(w.messages) {
			t.Errorf("%s: %d messages, want %d", name, len(g.messages), len(w.messages))
			continue
		}
		for i, m := range w.messages {
			n := g.messages[i]
			slices.Sort(m.Flags)
			slices.Sort(n.Flags)
			if !saved {
				n.Saved = m.Saved
			}
			if !reflect.DeepEqual(n, m) {
				t.Errorf("%s: UID %d: got %+.300v, want %+.300v", name, m.UID, n, m)
			}
		}
	}
}

// TestRoundTrip exports, and imports what was written into another farm: the messages, flags, dates and numbers are the same.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		format  archive.Format
		dialect mbox.Dialect
		exact   bool
	}{
		{"maildir", archive.Maildir, mbox.Auto, true}, {"mboxrd", archive.Mbox, mbox.RD, false}, {"mboxcl2", archive.Mbox, mbox.CL2, false}, {"all.zip", archive.Zip, mbox.RD, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // most of the time is waiting for flushes
			a, b := startFarm(t, sqlite.Options{}), startFarm(t, sqlite.Options{})
			a.seed(t, tt.exact)
			path := filepath.Join(t.TempDir(), tt.name)
			r := a.exportTo(t, path, tt.format, tt.dialect)
			if r.Messages != r.Written || r.Messages < 16 || len(r.Left) != 0 || len(r.Notes) != 0 || r.Changed != 0 {
				t.Errorf("export: %+v", r)
			}
			// A repeat writes what is not there, or all of it anew.
			again := a.exportTo(t, path, tt.format, tt.dialect)
			if tt.exact && (again.Written != 0 || again.Present != r.Messages) || !tt.exact && again.Written != r.Messages {
				t.Errorf("repeat: %+v", again)
			}
			want := a.boxes(t)
			for range 2 {
				in := b.importAt(t, path, importer.Run{})
				if in.Skipped != 0 || len(in.Notes) != 0 || in.Messages != r.Messages {
					t.Errorf("import: %+v", in)
				}
				same(t, b.boxes(t), want, !tt.exact, tt.exact)
			}
			names, err := b.imports.UIDLs(t.Context(), &storev1.UIDLsRequest{Account: account, Mailbox: b.boxes(t)["Work"].Id})
			if err != nil || !slices.Equal(names.Uidls, []string{"pop.1"}) {
				t.Errorf("UIDLs: %v, %v", names, err)
			}
		})
	}
}

func TestExportOfFolders(t *testing.T) {
	t.Parallel()
	f := startFarm(t, sqlite.Options{})
	f.seed(t, true)
	r := f.exportTo(t, filepath.Join(t.TempDir(), "x"), archive.Mbox, mbox.RD, "Work")
	if len(r.Folders) != 2 || r.Folders[0].Folder != "Work" || r.Folders[1].Folder != "Work/2026" || r.Changed != 8 {
		t.Errorf("%+v", r)
	}
	full := t.TempDir()
	write(t, full, map[string]string{"diary": "dear"})
	for _, format := range []archive.Format{archive.Maildir, archive.Mbox} {
		if _, err := archive.Create(full, format, mbox.RD, "alice"); err == nil {
			t.Errorf("%s into a folder with other files: no error", format)
		}
	}
	w, err := archive.Create(filepath.Join(t.TempDir(), "y"), archive.Maildir, mbox.RD, "alice")
	check(t, err)
	run := &exporter.Run{Mailboxes: f.mailboxes, Bodies: f.bodies, Imports: f.imports, Account: account, Folders: []string{"Nowhere"}}
	if _, err := run.Export(t.Context(), w); err == nil || !strings.Contains(err.Error(), "Nowhere") {
		t.Errorf("no such folder: %v", err)
	}
}

// TestHardNames exports folders whose names no file can have, or that look like others there: each comes back as it was.
func TestHardNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(strings.Repeat("ü", 90)+"/", 19) + "x"
	names := []string{"INBOX", "INBOX/Sent", "Sent", "INBOX/INBOX", "A.B", "A_B", "A/B", "a&AOk-b", long, long + "y", strings.Repeat("x", 199), strings.Repeat("ü&", 66), strings.Repeat("ü&", 66) + "/x.y",
		strings.Repeat("日", 80), strings.Repeat("日", 85) + "/" + strings.Repeat("é", 127), `a\b`, `a\b/c`}
	a := startFarm(t, sqlite.Options{})
	for i, name := range names {
		f := &storev1.ImportBegin{Mailbox: name, UidValidity: uint32(1_700_000_000 - i), UidNext: 100, Subscribed: i%2 == 0}
		a.put(t, f, []*storev1.ImportStart{{Key: []byte("1"), Uid: 7, ReceivedNs: 1e18}}, []string{"Subject: " + name + "\r\n\r\n"})
	}
	a.put(t, &storev1.ImportBegin{Mailbox: long + "z", UidValidity: 1_600_000_000, UidNext: 44}, nil, nil)
	want := a.boxes(t)
	for path, format := range map[string]archive.Format{"m": archive.Maildir, "b": archive.Mbox, "z.zip": archive.Zip} {
		path = filepath.Join(t.TempDir(), path)
		for range 2 {
			if r := a.exportTo(t, path, format, mbox.RD); r.Messages != len(names) || len(r.Left) != 0 || len(r.Notes) < 4 {
				t.Errorf("%s: %+v", path, r)
			}
		}
		b := startFarm(t, sqlite.Options{})
		if in := b.importAt(t, path, importer.Run{}); in.Filed != len(names) || len(in.Notes) != 0 || len(in.Folders) < len(names)+1 {
			t.Errorf("%s: %+v", path, in)
		}
		got := b.boxes(t)
		for _, name := range append(names, long+"z") {
			w, g := want[name], got[name]
			if g.Mailbox == nil || g.UidValidity != w.UidValidity || g.Subscribed != w.Subscribed && format == archive.Maildir || !equal(g.messages, w.messages) {
				t.Errorf("%s: %.40q: %v, %+v", path, name, g.Mailbox, g.messages)
			}
		}
	}
}

// TestExportOfAFolderGoesOn cuts off exports of folders beside INBOX, and gives them again: to what the first one has left.
func TestExportOfAFolderGoesOn(t *testing.T) {
	t.Parallel()
	a := startFarm(t, sqlite.Options{})
	for i, name := range []string{"INBOX", "A.B", "A.B/c", "Work"} {
		begin := &storev1.ImportBegin{Mailbox: name, UidValidity: uint32(1_700_000_000 - i), Subscribed: i%2 == 1}
		a.put(t, begin, []*storev1.ImportStart{{Key: []byte("1"), ReceivedNs: 1e18}}, []string{"Subject: " + name + "\r\n\r\n"})
	}
	for path, format := range map[string]archive.Format{"m": archive.Maildir, "b": archive.Mbox} {
		path = filepath.Join(t.TempDir(), path)
		for cut := range 2 {
			w, err := archive.Create(path, format, mbox.RD, "alice")
			check(t, err)
			folder, err := w.Folder(archive.FolderInfo{Name: []string{"A.B/c", "A.B"}[cut], UIDValidity: 1, UIDNext: 2})
			check(t, err)
			if _, _, err := folder.Put(&archive.Item{UID: 1}, strings.NewReader("x")); err != nil { // and never again
				t.Fatal(err)
			}
			w.Abort()
		}
		a.exportTo(t, path, format, mbox.RD, "A.B", "Work")
		b := startFarm(t, sqlite.Options{})
		r := b.importAt(t, path, importer.Run{})
		if r.Filed != 3 || len(r.Folders) != 3 {
			t.Errorf("%s: %+v", path, r)
		}
		got := b.boxes(t)
		for i, name := range []string{"A.B", "A.B/c", "Work"} {
			if g := got[name]; len(g.messages) != 1 || g.messages[0].Text != "Subject: "+name+"\r\n\r\n" || format == archive.Maildir && g.Subscribed != (i != 1) {
				t.Errorf("%s: %s: %v, %+v", path, name, g.Mailbox, g.messages)
			}
		}
	}
}

// TestFolderThatCannotBeMade exports to where a path would be too long: what has room is written, the rest is told.
func TestFolderThatCannotBeMade(t *testing.T) {
	t.Parallel()
	a := startFarm(t, sqlite.Options{})
	for i, name := range []string{"INBOX", strings.Repeat("x", 190), "y"} {
		a.put(t, &storev1.ImportBegin{Mailbox: name, UidValidity: uint32(1_700_000_000 - i)}, []*storev1.ImportStart{{Key: []byte("1")}}, []string{"Subject: x\r\n\r\n"})
	}
	root := t.TempDir()
	for len(root) < 3900 {
		root = filepath.Join(root, strings.Repeat("d", min(200, 3940-len(root))))
	}
	for _, format := range []archive.Format{archive.Maildir, archive.Mbox} {
		r := a.exportTo(t, filepath.Join(root, string(format)), format, mbox.RD)
		if len(r.Left) != 1 || len(r.Left[0].Folder) != 190 || r.Left[0].UID != 0 || r.Written != 2 {
			t.Errorf("%s: %+v", format, r)
		}
	}
}

// TestExportCutOff cuts exports off at any point; what is there then is whole, and the next one goes on.
func TestExportCutOff(t *testing.T) {
	t.Parallel()
	for path, format := range map[string]archive.Format{"m": archive.Maildir, "b": archive.Mbox, "z.zip": archive.Zip} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			a, b := startFarm(t, sqlite.Options{}), startFarm(t, sqlite.Options{})
			a.seed(t, format == archive.Maildir)
			path := filepath.Join(t.TempDir(), path)
			for cut := 1; cut < 4; cut++ {
				w, err := archive.Create(path, format, mbox.RD, "alice")
				check(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				n := 0
				run := &exporter.Run{Mailboxes: a.mailboxes, Bodies: a.bodies, Imports: a.imports, Account: account, Progress: func(*exporter.Report) {
					if n++; n == cut {
						cancel()
					}
				}}
				r, err := run.Export(ctx, w)
				cancel()
				if err == nil {
					t.Fatalf("cut %d: no error", cut)
				}
				if cut > 1 && r.Present == 0 {
					t.Errorf("cut %d: began anew: %+v", cut, r)
				}
				w.Abort()
			}
			r := a.exportTo(t, path, format, mbox.RD)
			if r.Present < r.Messages/2 || r.Present+r.Written != r.Messages {
				t.Errorf("the last one: %+v", r)
			}
			b.importAt(t, path, importer.Run{})
			same(t, b.boxes(t), a.boxes(t), format != archive.Maildir, format == archive.Maildir)
		})
	}
}

// TestOthersReadExports lets Python's mailbox read what was written.
func TestOthersReadExports(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not there")
	}
	f := startFarm(t, sqlite.Options{})
	f.seed(t, false)
	root := t.TempDir()
	f.exportTo(t, filepath.Join(root, "m"), archive.Maildir, mbox.Auto)
	f.exportTo(t, filepath.Join(root, "b"), archive.Mbox, mbox.RD)
	script := `
import mailbox, sys
for box in (mailbox.Maildir(sys.argv[1] + "/m", create=False), mailbox.Maildir(sys.argv[1] + "/m", create=False).get_folder("Work.2026"),
            mailbox.mbox(sys.argv[1] + "/b/INBOX.mbox", create=False), mailbox.mbox(sys.argv[1] + "/b/Work.sbd/2026.mbox", create=False)):
    print(sorted((m["Subject"], "".join(sorted(m.get_flags())).replace("O", ""), len(m.get_payload())) for m in box))
`
	out, err := exec.Command(python, "-c", script, root).CombinedOutput()
	check(t, err)
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	const m = "[('a', 'Sa', 66), ('b', '', 0), ('b', 'FRb', 0), ('large', 'DPT', 991001)]"
	if len(got) != 4 || got[0] != got[1] || got[2] != got[3] || !strings.Contains(got[0], "('large', 'DPT', 991001)") || !strings.Contains(got[2], "('b', 'AF', 0)") {
		t.Errorf("got %q, want such as %q", got, m)
	}
}

// TestDovecot reads what Dovecot wrote, with its numbers.
func TestDovecot(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("doveadm"); err != nil {
		t.Skip("dovecot is not there")
	}
	for _, tt := range []struct{ name, location, folder string }{
		{"Maildir", "maildir:%s/mail", "mail"}, {"mbox", "mbox:%s/mail:INBOX=%s/mail/inbox", "mail"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			d := newDovecot(t, root, strings.ReplaceAll(tt.location, "%s", root))
			for i, text := range []string{"Subject: 1\n\none\n", "Subject: 2\n\nFrom me\n>From you\n\ntwo\n", "Subject: 3\n\nthree\n"} {
				d.save(t, "INBOX", text)
				if i == 1 {
					d.save(t, "Work/Größe", text)
				}
			}
			d.run(t, "", "flags", "add", `\Seen \Flagged $Work`, "mailbox", "INBOX", "uid", "2")
			d.run(t, "", "expunge", "mailbox", "INBOX", "uid", "1")
			d.run(t, "", "mailbox", "subscribe", "Work/Größe")
			f := startFarm(t, sqlite.Options{})
			r := f.importAt(t, filepath.Join(root, tt.folder), importer.Run{})
			boxes := f.boxes(t)
			in := boxes["INBOX"]
			if r.Skipped != 0 || !equal(in.messages, []kept{
				{UID: 2, Flags: []string{`\Seen`, `\Flagged`, "$Work"}, Text: "Subject: 2\r\n\r\nFrom me\r\n>From you\r\n\r\ntwo\r\n"}, {UID: 3, Text: "Subject: 3\r\n\r\nthree\r\n"}}) {
				t.Errorf("%+v, INBOX: %+v", r, in.messages)
			}
			for _, name := range []string{"INBOX", "Work/Größe"} {
				status := strings.Fields(d.run(t, "", "mailbox", "status", "uidvalidity uidnext messages", name))
				got := boxes[name]
				if got.Mailbox == nil || !slices.Contains(status, "uidvalidity="+itoa(got.UidValidity)) || !slices.Contains(status, "uidnext="+itoa(got.UidNext)) ||
					!slices.Contains(status, "messages="+itoa(got.Messages)) {
					t.Errorf("%s: %v, Dovecot has %q", name, got.Mailbox, status)
				}
			}
			if got := boxes["Work/Größe"]; !got.GetSubscribed() || len(got.messages) != 1 || got.messages[0].UID != 1 {
				t.Errorf("Work/Größe: %v", got)
			}
		})
	}
}

// dovecot is one user's mail as Dovecot keeps it.
type dovecot struct{ config string }

func newDovecot(t *testing.T, root, location string) dovecot {
	t.Helper()
	d := dovecot{filepath.Join(root, "dovecot.conf")}
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 65534, 65534 // Dovecot gives root no mail
		check(t, os.Chmod(filepath.Dir(root), 0o711))
	}
	for _, dir := range []string{root, filepath.Join(root, "run"), filepath.Join(root, "mail")} {
		check(t, os.MkdirAll(dir, 0o700))
		check(t, os.Chown(dir, uid, gid))
	}
	check(t, os.WriteFile(d.config, []byte(`
base_dir = `+root+`/run
mail_location = `+location+`
mail_home = `+root+`
mail_uid = `+itoa(uint32(uid))+`
mail_gid = `+itoa(uint32(gid))+`
first_valid_uid = 0
first_valid_gid = 0
ssl = no
log_path = /dev/stderr
namespace inbox {
  inbox = yes
  separator = /
}
`), 0o600))
	return d
}

func (d dovecot) run(t *testing.T, input string, args ...string) string {
	t.Helper()
	c := exec.Command("doveadm", append([]string{"-c", d.config}, args...)...)
	c.Env, c.Stdin = append(os.Environ(), "USER=tester", "HOME="+filepath.Dir(d.config)), strings.NewReader(input)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("doveadm %q: %v: %s", args, err, out)
	}
	return string(out)
}

func (d dovecot) save(t *testing.T, folder, text string) {
	t.Helper()
	if folder != "INBOX" {
		d.run(t, "", "mailbox", "create", folder)
	}
	d.run(t, text, "save", "-m", folder)
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
