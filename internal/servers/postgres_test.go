package servers_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/servers"
)

func TestStandbyTakesOver(t *testing.T) {
	primary := servers.OwnPostgres(t)
	standby := primary.Standby(t, true)
	exec(t, primary.URL, "CREATE TABLE t (k BIGINT)", "INSERT INTO t VALUES (1)")
	primary.Stop(t, true)
	standby.Promote(t)
	exec(t, standby.URL, "INSERT INTO t VALUES (2)")
	standby.Restart(t, true)
	conn, err := pgx.Connect(t.Context(), standby.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT COUNT(*) FROM t").Scan(&n); err != nil || n != 2 {
		t.Errorf("%d rows, %v; want 2", n, err)
	}
}

func exec(t *testing.T, url string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}
