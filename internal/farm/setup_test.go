package farm_test

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/farm"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/servers"
)

func TestRestoredDatabaseIsANewTimeline(t *testing.T) {
	pg := servers.Postgres(t)
	cfg := farm.Config{}
	cfg.Database.URL = pg.URL
	cfg.Defaults()
	if err := postgres.Migrate(t.Context(), cfg.Database); err != nil {
		t.Fatal(err)
	}
	for _, restored := range []string{"", "dump of Tuesday", ""} {
		if err := farm.BeginTimeline(t.Context(), cfg, restored, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := pgx.Connect(t.Context(), pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), "SELECT reason FROM timeline ORDER BY timeline")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if want := []string{"first", "dump of Tuesday"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got timelines %q, %v, want %q", got, err, want)
	}
}
