package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/mailfarm/mailfarm/internal/fulltext"
	"github.com/mailfarm/mailfarm/internal/fulltext/fulltexttest"
	"github.com/mailfarm/mailfarm/internal/fulltext/sqlite"
)

func TestIndex(t *testing.T) {
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "fulltext.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	fulltexttest.Run(t, func(testing.TB) fulltext.DB { return db })
}
