package sqlite

import (
	"reflect"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

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

// TestPlans shows that the queries which must be quick in a large mailbox go by the index meant for them.
func TestPlans(t *testing.T) {
	d := open(t, Options{})
	for _, tt := range []struct {
		name, query, want string
		args              int
	}{
		{"whole snapshot", wholeChunks,
			"SEARCH chunk USING PRIMARY KEY (account=? AND mailbox=?)", 3},
		{"snapshot since", chunksSince,
			"SEARCH chunk USING INDEX chunk_by_mod_seq (account=? AND mailbox=? AND max_mod_seq>?)|USE TEMP B-TREE FOR ORDER BY", 3},
		{"last chunk", "SELECT first_uid FROM chunk WHERE account = ? AND mailbox = ? ORDER BY first_uid DESC LIMIT 1",
			"SEARCH chunk USING PRIMARY KEY (account=? AND mailbox=?)", 2},
		{"mailbox by name", "SELECT " + unit.BoxColumns + " FROM mailbox WHERE account = ? AND name = ?",
			"SEARCH mailbox USING INDEX mailbox_by_name (account=? AND name=?)", 2},
		{"emails", emailsQuery + "= ?", "SEARCH email USING INTEGER PRIMARY KEY (rowid=?)", 2},
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
