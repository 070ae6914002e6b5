package sqlite

import (
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

var wholeFolder = mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}}

// filled is the INBOX of account 1 with messages in it.
func filled(t *testing.T, messages int) (*Mailboxes, mailbox.ID) {
	m := open(t, Options{}).Mailboxes()
	if _, err := m.Append(t.Context(), 1, index.Inbox, make([]index.Message, messages)); err != nil {
		t.Fatal(err)
	}
	boxes, _, err := m.List(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return m, boxes[0].ID
}

// TestTombstonesNameEmails shows what undelete and freeing go by: the emails of what was expunged, in the order of its UIDs.
func TestTombstonesNameEmails(t *testing.T) {
	m, inbox := filled(t, 600)
	ctx := t.Context()
	var all []mailbox.EmailID
	err := m.Snapshot(ctx, index.SnapshotQuery{Account: 1, Mailbox: inbox}, func(p *index.Page) error {
		for i := range p.Chunks {
			var c mailbox.Chunk
			if err := c.Unpack(&p.Chunks[i]); err != nil {
				return err
			}
			all = append(all, c.Emails...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Expunge(ctx, 1, inbox, mailbox.UIDSet{{First: 200, Last: 300}, {First: 310, Last: 310}}, true)
	if err != nil {
		t.Fatal(err)
	}
	d, err := m.Delete(ctx, 1, "Trash")
	if err != nil {
		t.Fatal(err)
	}
	err = m.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		var uids, emails []byte
		if err := tx.QueryRow("SELECT t.uids, r.emails FROM tombstone t JOIN removed r USING (account, mailbox, mod_seq) WHERE account = 1 AND mailbox = ? AND mod_seq = ?", int64(inbox), int64(r.ModSeq)).
			Scan(&uids, &emails); err != nil {
			return err
		}
		set, err := mailbox.DecodeUIDSet(uids)
		if err != nil || !reflect.DeepEqual(set, r.Expunged) {
			t.Errorf("UIDs %v, %v; want %v", set, err, r.Expunged)
		}
		got, err := mailbox.DecodeEmails(nil, emails, int(set.Len()))
		if want := append(all[199:300:300], all[309]); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("emails %v, %v; want %v", got, err, want)
		}
		var n int
		if err := tx.QueryRow("SELECT COUNT(*) FROM tombstone WHERE mod_seq = ?", int64(d)).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d tombstones of an empty mailbox, %v", n, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestChunksOfOlderSchema: entries that an older program wrote are there after its file was brought up to date.
func TestChunksOfOlderSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	older := fstest.MapFS{}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		data, err := migrations.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if base := filepath.Base(name); base < "00019" {
			older[base] = &fstest.MapFile{Data: data}
		}
	}
	db, err := sqlitedb.Open(t.Context(), path, older, sqlitedb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var want []mailbox.Entry
	err = db.Write(t.Context(), func(tx *sqlitedb.Tx) error {
		for _, query := range []string{
			"INSERT INTO account (account, timeline, mod_seq, uid_validity, messages, size) VALUES (1, 1, 9, 1, 600, 6000)",
			`INSERT INTO mailbox (account, mailbox, name, special_use, uid_validity, uid_next, highest_mod_seq, purged_mod_seq, messages, unseen,
				deleted, size, recent_uid, keywords) VALUES (1, 5, 'INBOX', '', 1, 601, 9, 0, 600, 600, 0, 6000, 1, '')`,
		} {
			if _, err := tx.Exec(query); err != nil {
				return err
			}
		}
		for first := mailbox.UID(1); first < 600; first += 200 {
			c := mailbox.Chunk{FirstUID: first}
			for uid := first; uid < first+200; uid++ {
				e := mailbox.Entry{UID: uid, ModSeq: mailbox.ModSeq(uid % 9), Email: mailbox.EmailID(7 * uid), Size: 10, Received: int64(uid), Saved: 1e9 + int64(uid)}
				c.Add(e)
				want = append(want, e)
			}
			p := c.Pack()
			if _, err := tx.Exec(`INSERT INTO chunk (account, mailbox, first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received, saved)
				VALUES (1, 5, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, int64(p.FirstUID), int64(p.MaxModSeq), p.UIDs, p.Flags, p.ModSeqs, p.Emails, p.Sizes,
				p.Received, p.Saved); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	entries := func() (got []mailbox.Entry) {
		err := d.Mailboxes().Snapshot(t.Context(), index.SnapshotQuery{Account: 1, Mailbox: 5}, func(p *index.Page) error {
			for i := range p.Chunks {
				var c mailbox.Chunk
				if err := c.Unpack(&p.Chunks[i]); err != nil {
					return err
				}
				for k := range c.Len() {
					got = append(got, c.At(k))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := entries(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r, err := d.Mailboxes().Flag(t.Context(), index.FlagChange{Account: 1, Mailbox: 5, UIDs: wholeFolder, Mode: index.AddFlags, Flags: []string{`\Seen`}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		want[i].Flags, want[i].ModSeq = mailbox.Seen, r.ModSeq
	}
	if got := entries(); !reflect.DeepEqual(got, want) {
		t.Errorf("flagged: got %v, want %v", got, want)
	}
}

// TestPlans shows that the queries which must be quick in a large mailbox go by the index meant for them.
func TestPlans(t *testing.T) {
	d := open(t, Options{})
	for _, tt := range []struct {
		name, query, want string
		args              int
	}{
		{"whole snapshot", wholeChunks,
			"SEARCH chunk USING INDEX sqlite_autoindex_chunk_1 (account=? AND mailbox=?)", 3},
		{"snapshot since", chunksSince,
			"SEARCH chunk USING INDEX chunk_by_mod_seq (account=? AND mailbox=? AND max_mod_seq>?)|USE TEMP B-TREE FOR ORDER BY", 3},
		{"last chunk", "SELECT first_uid FROM chunk WHERE account = ? AND mailbox = ? ORDER BY first_uid DESC LIMIT 1",
			"SEARCH chunk USING COVERING INDEX sqlite_autoindex_chunk_1 (account=? AND mailbox=?)", 2},
		{"chunk of a UID", "SELECT " + chunkColumns + " FROM chunk WHERE account = ?1 AND mailbox = ?2 AND first_uid >= ?3 AND first_uid <= ?3 ORDER BY first_uid",
			"SEARCH chunk USING INDEX sqlite_autoindex_chunk_1 (account=? AND mailbox=? AND first_uid>? AND first_uid<?)", 3},
		{"mailbox by name", "SELECT " + unit.BoxColumns + " FROM mailbox WHERE account = ? AND name = ?",
			"SEARCH mailbox USING INDEX mailbox_by_name (account=? AND name=?)", 2},
		{"one email", emailColumns + emailAlone, "SEARCH email USING INTEGER PRIMARY KEY (rowid=?)", 1},
		{"a range of emails", emailColumns + emailsRange, "SEARCH email USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", 3},
		{"emails", emailColumns + emailsAmong, "SEARCH email USING INTEGER PRIMARY KEY (rowid=?)", amongMax},
		{"tombstones", "SELECT uids FROM tombstone WHERE account = ? AND mailbox = ? AND mod_seq > ? ORDER BY mod_seq",
			"SEARCH tombstone USING PRIMARY KEY (account=? AND mailbox=? AND mod_seq>?)", 3},
	} {
		err := d.db.Read(t.Context(), func(tx *sqlitedb.ReadTx) error {
			args := make([]any, tt.args)
			for i := range args {
				args[i] = 1
			}
			rows, err := tx.Query("EXPLAIN QUERY PLAN "+tt.query, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			var steps []string
			for rows.Next() {
				var id, parent, unused int
				var detail string
				if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
					return err
				}
				steps = append(steps, detail)
			}
			if got := strings.Join(steps, "|"); got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
	}
}
