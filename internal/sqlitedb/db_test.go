package sqlitedb_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
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

// TestReadersAfterTrouble: a read that was cancelled, panicked or left rows open harms none behind it, and each sees the
// present.
func TestReadersAfterTrouble(t *testing.T) {
	db, err := sqlitedb.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"), schema, sqlitedb.Options{Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const all = "SELECT k FROM t"
	for i, trouble := range []func(ctx context.Context, cancel func(), tx *sqlitedb.ReadTx) error{
		func(context.Context, func(), *sqlitedb.ReadTx) error { return nil },
		func(_ context.Context, cancel func(), tx *sqlitedb.ReadTx) error {
			cancel()
			var n int
			return tx.QueryRow("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i < 1000000000) SELECT sum(i) FROM c").Scan(&n)
		},
		func(_ context.Context, _ func(), tx *sqlitedb.ReadTx) error {
			rows, err := tx.Query(all)
			if err == nil {
				rows.Next()
			}
			return err
		},
		func(context.Context, func(), *sqlitedb.ReadTx) error { panic("boom") },
		func(_ context.Context, _ func(), tx *sqlitedb.ReadTx) error {
			return tx.Lookup(all, nil, func([]driver.Value) error { panic("boom") })
		},
		func(_ context.Context, _ func(), tx *sqlitedb.ReadTx) error {
			return tx.Lookup(all, nil, func([]driver.Value) error { return errors.New("boom") })
		},
		func(_ context.Context, _ func(), tx *sqlitedb.ReadTx) error {
			return tx.Lookup("SELECT nothing", nil, nil)
		},
		func(_ context.Context, _ func(), tx *sqlitedb.ReadTx) error {
			return tx.QueryRow("SELECT nothing").Scan()
		},
		func(_ context.Context, _ func(), tx *sqlitedb.ReadTx) error {
			for k := range 1000 { // more texts than are kept
				var n int
				if err := tx.QueryRow(fmt.Sprintf("SELECT %d", k)).Scan(&n); err != nil || n != k {
					return fmt.Errorf("%d: %d %w", k, n, err)
				}
			}
			return nil
		},
	} {
		if err := db.Write(t.Context(), insert(i)); err != nil {
			t.Fatal(err)
		}
		func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			defer func() { recover() }()
			db.Read(ctx, func(tx *sqlitedb.ReadTx) error { return trouble(ctx, cancel, tx) })
		}()
		if n := count(t, db); n != i+1 {
			t.Errorf("after trouble %d: %d rows, want %d", i, n, i+1)
		}
	}
	db.Close()
	if err := db.Read(t.Context(), func(*sqlitedb.ReadTx) error { return nil }); err == nil {
		t.Error("a closed database was read")
	}
}

// TestLookup: rows come with the types that the columns have, in one snapshot, and their values may be kept.
func TestLookup(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "a.db"))
	for k := range 3 {
		if err := db.Write(t.Context(), insert(k)); err != nil {
			t.Fatal(err)
		}
	}
	const query = "SELECT k, v, CAST(v AS BLOB), NULL, k + 0.5 FROM t WHERE k >= ? AND v <> ? ORDER BY k"
	err := db.Read(t.Context(), func(tx *sqlitedb.ReadTx) error {
		for k := range 2 { // the second time the statement is there
			var got [][]driver.Value
			err := tx.Lookup(query, []any{int64(1), "7"}, func(row []driver.Value) error {
				got = append(got, slices.Clone(row))
				return nil
			})
			want := [][]driver.Value{{int64(1), "1", []byte("1"), nil, 1.5}, {int64(2), "2", []byte("2"), nil, 2.5}}
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %v, want %v; %v", got, want, err)
			}
			if err := db.Write(t.Context(), insert(10+k)); err != nil {
				return err
			}
		}
		rows := 0
		err := tx.Lookup("SELECT k FROM t", nil, func([]driver.Value) error {
			rows++
			return io.EOF
		})
		if err != io.EOF || rows != 1 {
			t.Errorf("%d rows, %v; want what the function gave after the first", rows, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		cancel()
		return tx.Lookup("SELECT k FROM t", nil, func([]driver.Value) error { return nil })
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
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

// TestEnded: what writes tell that succeed is told before any of them returns, nil for one that told nothing; what failed tells
// nothing, but where the transaction did.
func TestEnded(t *testing.T) {
	var told []any // written by the writer, read between writes
	db, err := sqlitedb.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"), schema, sqlitedb.Options{
		Ended: func(list []any) { told = append(told, list...) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for i, c := range []struct {
		write func(*sqlitedb.Tx) error
		want  []any
	}{
		{func(tx *sqlitedb.Tx) error { tx.Tell("a"); return nil }, []any{"a"}},
		{func(tx *sqlitedb.Tx) error { return nil }, []any{nil}},
		{func(tx *sqlitedb.Tx) error { tx.Tell("b"); return errors.New("boom") }, nil},
		{func(tx *sqlitedb.Tx) error { tx.Tell("c"); panic("boom") }, nil},
		{func(tx *sqlitedb.Tx) error { // ends the transaction under the writer
			tx.Tell("d")
			_, err := tx.Exec("ROLLBACK")
			return err
		}, []any{nil}},
	} {
		told = nil
		db.Write(t.Context(), c.write)
		if !slices.Equal(told, c.want) {
			t.Errorf("write %d: told %v, want %v", i, told, c.want)
		}
	}
}
