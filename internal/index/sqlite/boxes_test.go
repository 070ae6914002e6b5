package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// TestKnownBoxes: rows of mailboxes are remembered, and whatever changes one is seen by whoever asks next.
func TestKnownBoxes(t *testing.T) {
	ctx := t.Context()
	d, err := Open(ctx, filepath.Join(t.TempDir(), "index.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	m := d.Mailboxes()
	const account, other = 7, 8
	work, _, err := m.Create(ctx, account, "Work", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.Create(ctx, other, "Work", ""); err != nil {
		t.Fatal(err)
	}
	find := func(a mailbox.AccountID) index.Found {
		t.Helper()
		found, err := m.Find(ctx, a, []string{"Work"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return found[0]
	}
	known := func(a mailbox.AccountID) bool {
		_, ok := d.boxes.found(a, []string{"Work"}, nil)
		return ok
	}
	find(other)
	exec := func(query string, args ...any) func() error {
		return func() error {
			return d.WriteSQL(ctx, func(tx kept.SQL) error {
				_, err := tx.Exec(query, args...)
				return err
			})
		}
	}
	for _, change := range []struct {
		name  string
		do    func() error
		other bool // whether what is remembered of others goes too
	}{
		{name: "append", do: func() error { _, err := m.Append(ctx, account, "Work", []index.Message{{Size: 9}}); return err }},
		{name: "child", do: func() error { _, _, err := m.Create(ctx, account, "Work/2026", ""); return err }},
		{name: "subscription", do: func() error { _, err := m.Subscribe(ctx, account, "Work", true); return err }},
		{name: "recent", do: func() error {
			return m.Snapshot(ctx, index.SnapshotQuery{Account: account, Mailbox: work.ID, TakeRecent: true}, func(*index.Page) error { return nil })
		}},
		{name: "purged", do: exec("UPDATE mailbox SET purged_mod_seq = 1 WHERE account = $1", int64(account)), other: true},
		{name: "untold", do: func() error { return d.BeginTimeline(ctx, "a test") }, other: true},
	} {
		name := change.name
		find(account)
		find(other)
		if !known(account) || !known(other) {
			t.Fatalf("before %s: a row that was read is not remembered", name)
		}
		if err := change.do(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if name != "recent" && name != "append" && known(account) { // the row is read again there, and is saved here
			t.Errorf("%s: the row of before is still remembered", name)
		}
		if known(other) == change.other {
			t.Errorf("%s: another account's row is remembered: %v", name, !change.other)
		}
	}
	if got := find(account); got.Messages != 1 || !got.Children || !got.Subscribed || got.RecentUID != 2 {
		t.Errorf("got %+v, want the row as it is", got)
	}

	// What was read before a write may not be remembered behind it, and what failed forgets no less.
	find(account)
	turn := d.boxes.now()
	old, _ := d.boxes.box(account, work.ID)
	if _, err := m.Append(ctx, account, "Work", []index.Message{{Size: 9}}); err != nil {
		t.Fatal(err)
	}
	d.boxes.keep(turn, account, old)
	if got := find(account); got.Messages != 2 {
		t.Errorf("got %d messages behind a late reader, want 2", got.Messages)
	}
	// A write that nobody waits for any more is heard of when it ends.
	begun, gone := make(chan struct{}), make(chan struct{})
	go d.db.Write(ctx, func(*sqlitedb.Tx) error { close(begun); <-gone; return nil })
	<-begun
	leaving, leave := context.WithCancel(ctx)
	leave()
	if _, err := m.Append(leaving, account, "Work", []index.Message{{Size: 9}}); err == nil || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the context's end", err)
	}
	close(gone)
	if _, err := m.Subscribe(ctx, other, "Work", true); err != nil { // waits for those before it
		t.Fatal(err)
	}
	list, _, err := m.List(ctx, account)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range list {
		if b.ID == work.ID && b.Messages != find(account).Messages {
			t.Errorf("Find tells %d messages, List %d", find(account).Messages, b.Messages)
		}
	}
}

// TestRecentIsToldToItsTaker: where the row was read and remembered again after the mark of \Recent was moved, who moved it is
// still told where it was.
func TestRecentIsToldToItsTaker(t *testing.T) {
	ctx := t.Context()
	d, err := Open(ctx, filepath.Join(t.TempDir(), "index.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	m := d.Mailboxes()
	const account = 7
	if _, err := m.Append(ctx, account, "INBOX", []index.Message{{Size: 9}}); err != nil {
		t.Fatal(err)
	}
	find := func() index.Found {
		t.Helper()
		found, err := m.Find(ctx, account, []string{"INBOX"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return found[0]
	}
	box := find()
	q := index.SnapshotQuery{Account: account, Mailbox: box.ID, Since: box.HighestModSeq, TakeRecent: true}
	recent, err := m.takeRecent(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	if got := find(); got.RecentUID != got.UIDNext {
		t.Fatalf("the mark is at %d, want %d", got.RecentUID, got.UIDNext)
	}
	err = m.readSnapshot(ctx, q, &recent, func(p *index.Page) error {
		if p.Mailbox.RecentUID != 1 {
			t.Errorf("who took it is told that \\Recent begins at %d, want 1", p.Mailbox.RecentUID)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestKnownBoxesAreBounded: more than is kept is forgotten, not gathered, whether rows are many or large, are read or saved, and
// whatever their accounts are.
func TestKnownBoxesAreBounded(t *testing.T) {
	words := make([]string, 56)
	for i := range words {
		words[i] = fmt.Sprintf("%0100d", i)
	}
	for _, tt := range []struct {
		name     string
		accounts int
		read     []string // the keywords of a row that is read
		saved    []string // and of the same when it is saved, if it is
	}{
		{name: "small", accounts: 100},
		{name: "each of another account", accounts: 1 << 30},
		{name: "large", accounts: 100, read: words},
		{name: "grown", accounts: 100, saved: words},
		{name: "grown smaller", accounts: 100, read: words, saved: words[:1]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var k knownBoxes
			most := int64(0)
			for i := range 60_000 {
				account := mailbox.AccountID(1 + i%tt.accounts)
				box := index.Mailbox{ID: mailbox.ID(i + 1), Name: fmt.Sprintf("Box %d", i), Keywords: tt.read}
				k.keep(k.now(), account, knownBox{Found: index.Found{Mailbox: box}})
				if tt.saved != nil {
					var c changes
					box.Keywords = tt.saved
					c.saved(account, &box)
					k.ended([]any{&c})
				}
				if i%1000 == 0 {
					var c changes
					c.of(account)
					k.ended([]any{&c})
				}
				if most = max(most, k.octets); most > boxesOctets {
					t.Fatalf("%d octets behind row %d, more than %d", most, i, boxesOctets)
				}
			}
			octets := int64(0)
			for _, a := range k.accounts {
				octets += knownAccountCost
				for _, b := range a.boxes {
					octets += b.cost()
				}
			}
			if octets != k.octets || most < boxesOctets*9/10 {
				t.Errorf("%d octets, counted %d; at most %d, of %d", octets, k.octets, most, boxesOctets)
			}
		})
	}
}
