package postgres_test

import (
	"testing"

	"github.com/mailfarm/mailfarm/internal/fulltext"
	"github.com/mailfarm/mailfarm/internal/fulltext/fulltexttest"
	"github.com/mailfarm/mailfarm/internal/fulltext/postgres"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

func TestIndex(t *testing.T) {
	cfg := pgdb.Config{URL: servers.Postgres(t).URL}
	if err := postgres.Migrate(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	db, err := postgres.Open(t.Context(), cfg, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	fulltexttest.Run(t, func(testing.TB) fulltext.DB { return db })
}
