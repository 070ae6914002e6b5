package kept_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/index/sqlite"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// spared have an account in a row and stay: an account under legal hold is not dropped, messages on their way to one are the
// ledger's, and dropping tells that it was.
var spared = []string{"legal_hold", "recipient", "delivered", "dropping"}

// TestDropTakesAll compares what Drop does with the tables of the database: who makes a table of mailbox data must not
// forget it here.
func TestDropTakesAll(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		d, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
		dropTakesAll(t, d, d.Sharing(), `SELECT m.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = 'account'`)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		cfg := pgdb.Config{URL: servers.Postgres(t).URL, MaxConns: 4}
		if err := postgres.Migrate(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		d, err := postgres.Open(t.Context(), cfg, postgres.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		dropTakesAll(t, d, d.Sharing(), `SELECT CAST(table_name AS TEXT) FROM information_schema.columns WHERE table_schema = current_schema() AND column_name = 'account'`)
	})
}

func dropTakesAll(t *testing.T, db kept.DB, sharing index.Sharing, tables string) {
	ctx := t.Context()
	var there []string
	if err := db.ReadSQL(ctx, func(tx kept.SQL) error {
		return tx.Each(tables, func(row unit.Scanner) error {
			var name string
			err := row.Scan(&name)
			there = append(there, name)
			return err
		})
	}); err != nil {
		t.Fatal(err)
	}
	goes := kept.Dropped()
	for _, name := range there {
		if !slices.Contains(goes, name) && !slices.Contains(spared, name) {
			t.Errorf("table %s has accounts, and Drop leaves its rows", name)
		}
	}
	for _, name := range goes {
		if !slices.Contains(there, name) {
			t.Errorf("Drop takes rows from %s, which has no accounts", name)
		}
	}

	for account := mailbox.AccountID(7); account <= 8; account++ {
		if _, err := sharing.SetACL(ctx, index.ACLChange{Account: account, Identifier: "user:9", Rights: acl.Lookup}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.WriteSQL(ctx, func(tx kept.SQL) error {
		for _, account := range []int64{7, 8} {
			if _, err := tx.Exec(`INSERT INTO seen (account, mailbox, reader, first_uid, max_mod_seq, uids, flags, mod_seqs) VALUES ($1, 1, 9, 1, 1, $2, $3, $4)`,
				account, []byte{1}, []byte{1}, []byte{1}); err != nil {
				return err
			}
			if _, err := tx.Exec(`INSERT INTO operation (account, operation, uid_validity, source_uids, target_uids, done_ns) VALUES ($1, $2, 1, $3, $4, 1)`,
				account, []byte{1}, []byte{1}, []byte{1}); err != nil {
				return err
			}
			if _, err := tx.Exec(`INSERT INTO imported (account, mailbox, key, uid, uidl) VALUES ($1, 1, $2, 1, '')`, account, []byte{1}); err != nil {
				return err
			}
			if _, err := tx.Exec(`INSERT INTO spent_validity (account, uid_validity) VALUES ($1, 1)`, account); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s := kept.New(db)
	if err := s.BeginDrop(ctx, 7, db.Clock()); err != nil {
		t.Fatal(err)
	}
	if err := s.Forgetting(ctx, 7); err != nil {
		t.Fatal(err)
	}
	if err := s.Forgotten(ctx, 7); err != nil {
		t.Fatal(err)
	}
	for done := false; !done; {
		var err error
		if done, err = s.Drop(ctx, 7, 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range there {
		count := func(account int64) (n int64) {
			if err := db.ReadSQL(ctx, func(tx kept.SQL) error {
				return tx.Each("SELECT COUNT(*) FROM "+name+" WHERE account = $1", func(row unit.Scanner) error { return row.Scan(&n) }, account)
			}); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := count(7); n != 0 && name != "dropping" {
			t.Errorf("%d rows of the account are left in %s", n, name)
		}
		if slices.Contains([]string{"acl", "share", "seen", "operation", "imported", "spent_validity", "account", "mailbox"}, name) && count(8) == 0 {
			t.Errorf("no row of the other account is left in %s", name)
		}
	}
}
