package sqlite

import (
	"testing"

	"github.com/mailfarm/mailfarm/internal/index/indextest"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

func TestWhole(t *testing.T) {
	indextest.RunWhole(t, func(t testing.TB) indextest.WholeSubject {
		s := indextest.WholeSubject{RetentionSubject: retentionSubject(t)}
		d := s.Mailboxes.(*Mailboxes).d
		s.Whole = d.Whole()
		err := d.db.Read(t.Context(), func(tx *sqlitedb.ReadTx) error {
			rows, err := tx.Query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%'")
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var name string
				if err := rows.Scan(&name); err != nil {
					return err
				}
				s.Tables = append(s.Tables, name)
			}
			return rows.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
