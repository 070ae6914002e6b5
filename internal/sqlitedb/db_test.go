package sqlitedb_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

var schema = fstest.MapFS{"00001_first.sql": {Data: []byte("-- +goose Up\nCREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT NOT NULL);\n")}}

func open(t testing.TB, path string) *sqlitedb.DB {
	t.Helper()
	db, err := sqlitedb.Open(context.Background(), path, schema, sqlitedb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func insert(k int) func(*sqlitedb.Tx) error {
	return func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec("INSERT INTO t VALUES (?, ?)", k, fmt.Sprint(k))
		return err
	}
}

func count(t *testing.T, db *sqlitedb.DB) (n int) {
	t.Helper()
	err := db.Read(context.Background(), func(tx *sqlitedb.ReadTx) error {
		return tx.QueryRow("SELECT count(*) FROM t").Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWritesThatFailAreUndoneAlone(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for i := range 400 {
		wg.Go(func() {
			err := db.Write(context.Background(), func(tx *sqlitedb.Tx) error {
				if err := insert(i)(tx); err != nil {
					return err
				}
				switch i % 4 {
				case 1:
					return boom
				case 2:
					panic("boom")
				}
				return nil
			})
			switch {
			case i%4 == 1 && !errors.Is(err, boom), i%4 == 2 && err == nil, i%4 == 0 && err != nil, i%4 == 3 && err != nil:
				t.Errorf("write %d: got %v", i, err)
			}
		})
	}
	wg.Wait()
	if got := count(t, db); got != 200 {
		t.Errorf("got %d rows, want the 200 whose writes succeeded", got)
	}
}

func TestSynchronousIsFull(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	var mode, level string
	err := db.Write(context.Background(), func(tx *sqlitedb.Tx) error {
		return errors.Join(tx.QueryRow("PRAGMA journal_mode").Scan(&mode), tx.QueryRow("PRAGMA synchronous").Scan(&level))
	})
	if err != nil || mode != "wal" || level != "2" {
		t.Errorf("got journal_mode %s, synchronous %s, error %v; want wal and 2 (FULL)", mode, level, err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	open(t, path)
	_, err := sqlitedb.Open(context.Background(), path, schema, sqlitedb.Options{})
	if !errors.Is(err, sqlitedb.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	newer := fstest.MapFS{"00001_first.sql": schema["00001_first.sql"], "00002_second.sql": {Data: []byte("-- +goose Up\nCREATE TABLE u (k INTEGER);\n")}}
	db, err := sqlitedb.Open(context.Background(), path, newer, sqlitedb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err = sqlitedb.Open(context.Background(), path, schema, sqlitedb.Options{}); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("got %v, want a refusal that says the schema is newer", err)
	}
}

func TestReadSeesOneSnapshot(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	err := db.Read(context.Background(), func(tx *sqlitedb.ReadTx) error {
		var before, after int
		if err := tx.QueryRow("SELECT count(*) FROM t").Scan(&before); err != nil {
			return err
		}
		if err := db.Write(context.Background(), insert(1)); err != nil {
			return err
		}
		if err := tx.QueryRow("SELECT count(*) FROM t").Scan(&after); err != nil {
			return err
		}
		if before != after {
			t.Errorf("a snapshot saw %d rows, then %d", before, after)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := count(t, db); got != 1 {
		t.Errorf("got %d rows after the write, want 1", got)
	}
}

func TestClosedRefusesWrites(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	db.Close()
	if err := db.Write(context.Background(), insert(1)); !errors.Is(err, sqlitedb.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestNoRowIsErrNoRows(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	err := db.Write(context.Background(), func(tx *sqlitedb.Tx) error {
		var v string
		return tx.QueryRow("SELECT v FROM t WHERE k = 1").Scan(&v)
	})
	if !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("got %v, want sql.ErrNoRows", err)
	}
}

func BenchmarkWriteParallel(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "a.db"))
	var mu sync.Mutex
	next := 0
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			mu.Lock()
			next++
			k := next
			mu.Unlock()
			if err := db.Write(context.Background(), insert(k)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
