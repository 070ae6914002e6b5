package postgres_test

import (
	"testing"

	"github.com/mailfarm/mailfarm/internal/index/indextest"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/servers"
)

func TestWhole(t *testing.T) {
	pg := servers.Postgres(t)
	indextest.RunWhole(t, func(t testing.TB) indextest.WholeSubject {
		s := indextest.WholeSubject{RetentionSubject: checkOn(t, pg).RetentionSubject, Whole: connect(t, pg, postgres.Options{}).Whole()}
		pg.Admin(t, "TRUNCATE "+mailboxTables+", "+ledgerTables)
		rows, err := side(t, pg).Query(t.Context(), "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name NOT LIKE 'goose_%'")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				t.Fatal(err)
			}
			s.Tables = append(s.Tables, name)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return s
	})
}
