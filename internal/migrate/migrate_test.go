package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/filelock"
	"github.com/mailfarm/mailfarm/internal/imapsource"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/migrate"
	"github.com/mailfarm/mailfarm/internal/rpc"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/store"
)

// account is whom messages are brought to.
const account = 7

type deaf struct{}

func (deaf) Notify(string, []byte) error { return nil }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is an old server, a real store here, and the passes between them.
type world struct {
	t         *testing.T
	old       *old
	mailboxes storev1.MailboxesClient
	imports   storev1.ImportsClient
	bodies    storev1.BodiesClient
	state     string
	password  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, log, folder := context.Background(), slog.New(slog.DiscardHandler), t.TempDir()
	db, err := sqlite.Open(ctx, filepath.Join(folder, "index.db"), sqlite.Options{})
	check(t, err)
	t.Cleanup(func() { db.Close() })
	blobs, err := dir.Open(ctx, filepath.Join(folder, "blobs"), dir.Options{Log: log})
	check(t, err)
	t.Cleanup(func() { blobs.Close() })
	s, err := store.New(store.Config{MaxMessageBytes: 1 << 20}, store.Deps{Mailboxes: db.Mailboxes(), Imports: db.Imports(), Leases: db.Leases(), Blobs: blobs,
		Notify: deaf{}, Log: log, Metrics: prometheus.NewRegistry(), Now: time.Now})
	check(t, err)
	srv := rpc.NewServer(log)
	s.Register(srv)
	conn, stop, err := rpc.Local(srv)
	check(t, err)
	t.Cleanup(stop)
	return &world{t, newOld(t), storev1.NewMailboxesClient(conn), storev1.NewImportsClient(conn), storev1.NewBodiesClient(conn), filepath.Join(folder, "state"), "right"}
}

// pass is one; with change the test changes what is asked.
func (w *world) pass(change func(*migrate.Run)) *migrate.Report {
	w.t.Helper()
	run := &migrate.Run{Imports: w.imports, Mailboxes: w.mailboxes, Bodies: w.bodies, State: w.state,
		Retry: []time.Duration{time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond},
		Accounts: []*migrate.Account{{Server: imapsource.Server{Host: "127.0.0.1", Port: w.old.port, Security: imapsource.TLSNone},
			Login: imapsource.Login{User: "u", Password: w.password}, Source: "old", Target: "u@example.org", ID: account}}}
	if change != nil {
		change(run)
	}
	r, err := run.Run(w.t.Context())
	check(w.t, err)
	return r
}

// here is a folder: "UID flags" of each message, and how many octets it has.
func (w *world) here(name string) (list []string, size int64) {
	w.t.Helper()
	all, err := w.mailboxes.List(w.t.Context(), &storev1.ListRequest{Account: account})
	check(w.t, err)
	i := slices.IndexFunc(all.Mailboxes, func(m *storev1.Mailbox) bool { return m.Name == name && m.Exists })
	if i < 0 {
		return nil, 0
	}
	m := all.Mailboxes[i]
	stream, err := w.mailboxes.Snapshot(w.t.Context(), &storev1.SnapshotRequest{Account: account, Mailbox: m.Id})
	check(w.t, err)
	for {
		page, err := stream.Recv()
		if err == io.EOF {
			return list, m.Size
		}
		check(w.t, err)
		for _, c := range page.Chunks {
			var chunk mailbox.Chunk
			check(w.t, chunk.UnpackFlags(&mailbox.Packed{FirstUID: mailbox.UID(c.FirstUid), UIDs: c.Uids, Flags: c.Flags, ModSeqs: c.ModSeqs, Emails: c.Emails, Sizes: c.Sizes, Received: c.Received}))
			for i, uid := range chunk.UIDs {
				names := chunk.Flags[i].Names(m.Keywords)
				slices.Sort(names)
				list = append(list, strings.TrimSpace(fmt.Sprint(uid, " ", strings.Join(names, " "))))
			}
		}
	}
}

func (w *world) want(name string, want ...string) {
	w.t.Helper()
	if got, _ := w.here(name); !slices.Equal(got, want) {
		w.t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

// flag changes flags here.
func (w *world) flag(uid mailbox.UID, mode storev1.FlagMode, flags ...string) {
	w.t.Helper()
	all, err := w.mailboxes.Find(w.t.Context(), &storev1.FindRequest{Account: account, Names: []string{"INBOX"}})
	check(w.t, err)
	_, err = w.mailboxes.Flag(w.t.Context(), &storev1.FlagRequest{Account: account, Mailbox: all.Found[0].Mailbox.Id, Uids: mailbox.AppendUIDs(nil, []mailbox.UID{uid}), Mode: mode, Flags: flags})
	check(w.t, err)
}

func letters(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("Subject: %d\r\nDate: Mon, 1 Jan 2001 00:00:0%d +0000\r\n\r\n%s\r\n", i, i%10, strings.Repeat("x", 40*i%997)))
	}
	return list
}

// TestPlainServer passes over a server without any extension.
func TestPlainServer(t *testing.T) {
	w := newWorld(t)
	in := w.old.folders["INBOX"]
	in.add(`\Seen`, letters(4)...)
	in.messages[1].flags, in.messages[1].date = `\Recent \Seen Bad\Flag[ $a`, "NIL"
	in.expunge(1)
	w.old.folders["Work"] = &oldFolder{validity: 99, next: 5}
	w.old.folders["Gesendet"] = &oldFolder{validity: 98, next: 1}
	w.old.folders["Gesendet"].add("", letters(1)...)
	if r := w.pass(nil); !r.Complete() || r.Brought != 4 {
		t.Errorf("first pass: %+v", r)
	}
	w.want("INBOX", `2 $a \Seen`, `3 \Seen`, `4 \Seen`)
	w.want("Sent", "1")

	// Flags of both sides.
	w.flag(3, storev1.FlagMode_FLAG_MODE_REMOVE, `\Seen`)
	w.flag(4, storev1.FlagMode_FLAG_MODE_ADD, "$mine")
	w.old.change(func() { in.messages[0].flags, in.messages[2].flags = "$b", `\Seen \Flagged`; in.add("", letters(1)...) })
	if r := w.pass(nil); !r.Complete() || r.Brought != 1 || r.Flagged != 2 {
		t.Errorf("second pass: %+v", r)
	}
	w.want("INBOX", "2 $b", "3", `4 $mine \Flagged \Seen`, "5")

	// What is gone there goes here, where nobody touched it, and only when that is asked for.
	w.old.change(func() { in.expunge(2, 3, 4) })
	if r := w.pass(nil); r.GoneThere != 3 || r.Deleted != 0 {
		t.Errorf("pass that deletes nothing: %+v", r)
	}
	if r := w.pass(func(r *migrate.Run) { r.Delete = true }); r.Deleted != 1 {
		t.Errorf("pass that deletes: %+v", r)
	}
	w.want("INBOX", "3", `4 $mine \Flagged \Seen`, "5")
	if w.old.fetched != 5 {
		t.Errorf("%d bodies were read, want each of 5 once", w.old.fetched)
	}
	if r := w.pass(func(r *migrate.Run) { r.Verify = true }); r.Verified != 2 || !r.Complete() {
		t.Errorf("pass that verifies: %+v", r)
	}
}

// TestStateLost forgets what passes noted: nothing comes twice.
func TestStateLost(t *testing.T) {
	w := newWorld(t)
	in := w.old.folders["INBOX"]
	in.add("", letters(3)...)
	w.pass(nil)
	check(t, os.RemoveAll(w.state))
	w.flag(1, storev1.FlagMode_FLAG_MODE_ADD, "$mine")
	in.messages[1].flags = "$b"
	if r := w.pass(nil); !r.Complete() || r.Brought != 0 {
		t.Errorf("%+v", r)
	}
	w.want("INBOX", "1 $mine", "2 $b", "3")
	// State that is damaged is as good as lost.
	files, err := filepath.Glob(filepath.Join(w.state, "*", "*.json"))
	check(t, err)
	if len(files) == 0 {
		t.Fatal("there is no state")
	}
	for _, f := range files {
		check(t, os.WriteFile(f, []byte("{"), 0o600))
	}
	if r := w.pass(nil); !r.Complete() || r.Brought != 0 || len(r.Accounts[0].Notes) == 0 {
		t.Errorf("%+v", r)
	}
	w.want("INBOX", "1 $mine", "2 $b", "3")
}

// TestCutConnections breaks the connection amid bodies: all come, once.
func TestCutConnections(t *testing.T) {
	w := newWorld(t)
	w.old.folders["INBOX"].add("", letters(600)...)
	asked := 0
	w.old.cut = func(string, uint32) bool { asked++; return asked%271 == 0 }
	if r := w.pass(nil); !r.Complete() || r.Brought != 600 || r.There != 600 || r.Here != 600 {
		t.Errorf("%+v", r)
	}
	if asked <= 600 {
		t.Errorf("only %d bodies were asked for: nothing was cut", asked)
	}
	w.old.cut = nil
	if r := w.pass(func(r *migrate.Run) { r.Verify = true }); r.Verified != 600 || r.Brought != 0 {
		t.Errorf("%+v", r)
	}
}

// TestMessagesLeft has messages that cannot be brought: the others are, and those are told.
func TestMessagesLeft(t *testing.T) {
	w := newWorld(t)
	in := w.old.folders["INBOX"]
	in.add("", letters(6)...)
	in.messages[1].refused = true
	in.messages[2].text = ""
	in.add("", "Subject: large\r\n\r\n"+strings.Repeat("0123456789abcde\n", 1<<17))
	w.old.cut = func(_ string, uid uint32) bool { return uid == 5 }
	r := w.pass(nil)
	if r.Complete() || r.Counts.Left != 4 || r.Brought != 3 || r.Failed != 0 || len(r.Accounts[0].Left) != 4 {
		t.Errorf("%+v: %+v", r, r.Accounts[0])
	}
	w.want("INBOX", "1", "4", "6")
	// They come when they can; one with a lower UID gets another.
	w.old.change(func() { in.messages[1].refused, w.old.cut = false, nil })
	if r := w.pass(nil); r.Counts.Left != 2 || r.Brought != 2 {
		t.Errorf("%+v", r)
	}
	w.want("INBOX", "1", "4", "6", "8", "9")
}

// TestRenumbered changes UIDVALIDITY there: nothing is guessed.
func TestRenumbered(t *testing.T) {
	w := newWorld(t)
	in := w.old.folders["INBOX"]
	in.add("", letters(2)...)
	w.pass(nil)
	in.validity++
	if r := w.pass(func(r *migrate.Run) { r.Delete = true }); r.Complete() || r.Counts.Left != 2 || r.Brought != 0 || r.Deleted != 0 {
		t.Errorf("%+v", r)
	}
	if r := w.pass(func(r *migrate.Run) { r.Renumbered = true }); !r.Complete() || r.Brought != 2 {
		t.Errorf("%+v", r)
	}
	w.want("INBOX", "1", "2", "3", "4")
}

// TestHidden counts more messages than are listed: that is told, and nothing is taken for gone.
func TestHidden(t *testing.T) {
	w := newWorld(t)
	in := w.old.folders["INBOX"]
	in.add("", letters(3)...)
	w.pass(nil)
	in.expunge(2)
	in.hidden = 1
	if r := w.pass(func(r *migrate.Run) { r.Delete = true }); r.Complete() || r.Counts.Left != 1 || r.Deleted != 0 {
		t.Errorf("%+v", r)
	}
	w.want("INBOX", "1", "2", "3")
}

// TestTwoAccounts brings two accounts at a time into one, whose messages the old server numbers alike: all of them come.
func TestTwoAccounts(t *testing.T) {
	w := newWorld(t)
	w.old.folders["INBOX"].add("", letters(5)...)
	r := w.pass(func(r *migrate.Run) {
		second := *r.Accounts[0]
		second.Login.User = "v"
		r.Accounts, r.Connections, r.PerServer = append(r.Accounts, &second), 2, 2
	})
	if list, _ := w.here("INBOX"); !r.Complete() || r.Brought != 10 || len(list) != 10 {
		t.Errorf("%+v, %d messages here", r, len(list))
	}
	// A migration that runs keeps another with the same state away.
	lock, err := filelock.Take(filepath.Join(w.state, "lock"))
	check(t, err)
	defer lock.Release()
	if _, err := (&migrate.Run{State: w.state}).Run(t.Context()); !errors.Is(err, filelock.ErrHeld) {
		t.Errorf("two at a time: %v", err)
	}
}

// TestRefusedLogin fails the account, without trying passwords again.
func TestRefusedLogin(t *testing.T) {
	w := newWorld(t)
	w.password = "wrong"
	if r := w.pass(nil); r.Failed != 1 || !strings.Contains(r.Accounts[0].Error, "login refused") || strings.Contains(r.Accounts[0].Error, "wrong pass") {
		t.Errorf("%+v", r.Accounts[0])
	}
}

// TestFolders renames, leaves and remembers folders.
func TestFolders(t *testing.T) {
	w := newWorld(t)
	for i, name := range []string{"A", "A/b", "C", "C/d", "Trash"} {
		w.old.folders[name] = &oldFolder{validity: uint32(50 + i), next: 1}
		w.old.folders[name].add("", letters(1)...)
	}
	change := func(r *migrate.Run) { r.Rename, r.Exclude = map[string]string{"A": "Z"}, []string{"C/*"} }
	if r := w.pass(change); !r.Complete() || r.Brought != 3 {
		t.Errorf("%+v", r)
	}
	for _, name := range []string{"Z", "Z/b", "Trash"} {
		w.want(name, "1")
	}
	w.want("C/d")
	delete(w.old.folders, "A/b")
	if r := w.pass(func(r *migrate.Run) { change(r); r.Delete = true }); r.Deleted != 1 {
		t.Errorf("%+v", r)
	}
	w.want("Z/b")
}

func TestReadCSV(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "p"), []byte("from file\r\nmore"), 0o600))
	for _, tt := range []struct{ name, text, want string }{
		{"defaults", "account,user,password\na@x,a,p\n", "a@x a p h 993 implicit h"},
		{"all columns", "\ufeffUser,account,password,host,port,tls,source_name\n# none\na,a@x,@p,H2,1143,none,old\n", "a@x a from file H2 1143 none old"},
		{"starttls", "account,user,password,tls\na@x,a,p,starttls\n", "a@x a p h 143 starttls h"},
		{"no user", "account,password\na@x,p\n", "error"},
		{"unknown column", "account,user,pasword\na@x,a,p\n", "error"},
		{"no secret", "account,user\na@x,a\n", "error"},
		{"no file", "account,user,password\na@x,a,@nothing\n", "error"},
		{"twice", "account,user,password\na@x,a,p\nA@x,a,q\n", "error"},
		{"a port", "account,user,password,port\na@x,a,p,99999\n", "error"},
		{"short line", "account,user,password\na@x,a\n", "error"},
		{"empty", "account,user,password\n", "error"},
	} {
		list, err := migrate.ReadCSV(strings.NewReader(tt.text), dir, migrate.Account{Server: imapsource.Server{Host: "h"}})
		got := "error"
		if err == nil {
			a := list[0]
			got = fmt.Sprint(a.Target, " ", a.Login.User, " ", a.Login.Password, " ", a.Server.Host, " ", a.Server.Port, " ", a.Server.Security, " ", a.Source)
		}
		if got != tt.want {
			t.Errorf("%s: got %q (%v), want %q", tt.name, got, err, tt.want)
		}
	}
}
