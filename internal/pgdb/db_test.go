package pgdb_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/servers"
)

const first = "-- +goose Up\nCREATE TABLE t (k BIGINT PRIMARY KEY, v BIGINT NOT NULL);\n"

var schema = pgdb.Schema{Name: "test", FS: fstest.MapFS{"00001_first.sql": {Data: []byte(first)}}}

func open(t testing.TB, cfg pgdb.Config) *pgdb.DB {
	t.Helper()
	if err := pgdb.Migrate(t.Context(), cfg, schema); err != nil {
		t.Fatal(err)
	}
	db, err := pgdb.Open(t.Context(), cfg, schema, pgdb.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func exec(query string, args ...any) func(*pgdb.Tx) error {
	return func(tx *pgdb.Tx) error {
		_, err := tx.Exec(query, args...)
		return err
	}
}

func value(t testing.TB, db *pgdb.DB, k int) (v int) {
	t.Helper()
	err := db.Read(context.Background(), func(tx *pgdb.ReadTx) error {
		return tx.QueryRow("SELECT v FROM t WHERE k = $1", k).Scan(&v)
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestDeadlocksAreRetried has two transactions take two rows in opposite order, again and again.
func TestDeadlocksAreRetried(t *testing.T) {
	pg := servers.OwnPostgres(t, "deadlock_timeout=10ms")
	db := open(t, pgdb.Config{URL: pg.URL})
	if err := db.Write(t.Context(), exec("INSERT INTO t VALUES (1, 0), (2, 0)")); err != nil {
		t.Fatal(err)
	}
	const rounds = 20
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			for range rounds {
				err := db.Write(t.Context(), func(tx *pgdb.Tx) error {
					for _, k := range []int{1 + i, 2 - i} {
						if _, err := tx.Exec("UPDATE t SET v = v + 1 WHERE k = $1", k); err != nil {
							return err
						}
						if _, err := tx.Exec("SELECT pg_sleep(0.005)"); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if a, b := value(t, db, 1), value(t, db, 2); a != 2*rounds || b != 2*rounds {
		t.Errorf("got %d and %d, want %d", a, b, 2*rounds)
	}
}

func TestRestart(t *testing.T) {
	pg := servers.OwnPostgres(t)
	db := open(t, pgdb.Config{URL: pg.URL, AcquireTimeout: time.Second})
	if err := db.Write(t.Context(), exec("INSERT INTO t VALUES (1, 0)")); err != nil {
		t.Fatal(err)
	}
	// A connection that is lost in the middle of a write: the write is begun anew.
	tries := 0
	err := db.Write(t.Context(), func(tx *pgdb.Tx) error {
		if tries++; tries == 1 {
			pg.Restart(t, true)
		}
		return exec("UPDATE t SET v = v + 1 WHERE k = 1")(tx)
	})
	if err != nil || tries != 2 {
		t.Errorf("got %v after %d tries", err, tries)
	}
	pg.Stop(t, true)
	if err := db.Ping(t.Context()); !errors.Is(err, pgdb.ErrAway) {
		t.Errorf("Ping: got %v, want ErrAway", err)
	}
	// Whoever waited once does not wait again for each try: the deadline, of five waits, is not met.
	bounded, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := db.Write(bounded, exec("UPDATE t SET v = v + 1 WHERE k = 1")); !errors.Is(err, pgdb.ErrAway) {
		t.Errorf("Write: got %v, want ErrAway", err)
	}
	pg.Start(t)
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
	if v := value(t, db, 1); v != 1 {
		t.Errorf("got %d, want 1", v)
	}
}

// TestWaitersEndInTime has more callers than connections.
func TestWaitersEndInTime(t *testing.T) {
	db := open(t, pgdb.Config{URL: servers.Postgres(t).URL, MaxConns: 2, AcquireTimeout: 100 * time.Millisecond})
	release := make(chan struct{})
	var holding, wg sync.WaitGroup
	for range 2 {
		holding.Add(1)
		wg.Go(func() {
			if err := db.Read(t.Context(), func(*pgdb.ReadTx) error { holding.Done(); <-release; return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	holding.Wait()
	if err := db.Write(t.Context(), exec("SELECT 1")); !errors.Is(err, pgdb.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := db.Write(ctx, exec("SELECT 1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
	close(release)
	wg.Wait()
	if err := db.Write(t.Context(), exec("SELECT 1")); err != nil {
		t.Errorf("with connections free again: %v", err)
	}
}

// TestCommitWithoutStandby shows that a commit that gave up waiting for its synchronous standby is not told as done.
func TestCommitWithoutStandby(t *testing.T) {
	pg := servers.OwnPostgres(t)
	standby := pg.Standby(t, true)
	db := open(t, pgdb.Config{URL: pg.URL, StatementTimeout: 500 * time.Millisecond})
	standby.Stop(t, true)
	if err := db.Write(t.Context(), exec("INSERT INTO t VALUES (1, 0)")); !errors.Is(err, pgdb.ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := db.Write(ctx, exec("INSERT INTO t VALUES (2, 0)")); err == nil {
		t.Error("a commit that no standby has was told as done")
	}
	standby.Start(t)
	if err := db.Write(t.Context(), exec("INSERT INTO t VALUES (3, 0)")); err != nil && !errors.Is(err, pgdb.ErrUnknown) {
		t.Error(err)
	}
}

func TestReadSeesOneSnapshot(t *testing.T) {
	db := open(t, pgdb.Config{URL: servers.Postgres(t).URL})
	err := db.Read(t.Context(), func(tx *pgdb.ReadTx) error {
		var before, after int
		if err := tx.QueryRow("SELECT count(*) FROM t").Scan(&before); err != nil {
			return err
		}
		if err := db.Write(t.Context(), exec("INSERT INTO t VALUES (1, 1)")); err != nil {
			return err
		}
		if err := tx.QueryRow("SELECT count(*) FROM t").Scan(&after); err != nil {
			return err
		}
		if before != 0 || after != 0 {
			t.Errorf("a snapshot saw %d rows, then %d", before, after)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if v := value(t, db, 1); v != 1 {
		t.Errorf("got %d", v)
	}
}

func TestPanicsUndo(t *testing.T) {
	db := open(t, pgdb.Config{URL: servers.Postgres(t).URL, MaxConns: 2})
	for range 5 {
		func() {
			defer func() { recover() }()
			db.Write(t.Context(), func(tx *pgdb.Tx) error {
				exec("INSERT INTO t VALUES (1, 1)")(tx)
				panic("boom")
			})
		}()
	}
	if err := db.Write(t.Context(), exec("INSERT INTO t VALUES (1, 7)")); err != nil {
		t.Fatal(err)
	}
}

func TestSchema(t *testing.T) {
	cfg := pgdb.Config{URL: servers.Postgres(t).URL}
	files := func(n int, lowest int) pgdb.Schema {
		all := fstest.MapFS{}
		for i := range n {
			text := fmt.Sprintf("-- +goose Up\nCREATE TABLE t%d (k BIGINT);\n", i)
			if i == n-1 && lowest > 0 {
				text += fmt.Sprintf("UPDATE schema_lowest SET lowest = %d WHERE name = 'test';\n", lowest)
			}
			all[fmt.Sprintf("%05d_t.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
		}
		return pgdb.Schema{Name: "test", FS: all}
	}
	opens := func(s pgdb.Schema, want string) {
		t.Helper()
		db, err := pgdb.Open(t.Context(), cfg, s, pgdb.Deps{})
		if err == nil {
			db.Close()
		}
		if want == "" && err != nil || want != "" && (!errors.Is(err, pgdb.ErrSchema) || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	opens(files(1, 0), "mailfarm setup")
	// Many migrate at once.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := pgdb.Migrate(t.Context(), cfg, files(2, 0)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	opens(files(2, 0), "")
	opens(files(1, 0), "") // older, and told by nobody that it cannot serve
	opens(files(3, 0), "mailfarm setup")
	needs := files(3, 0)
	needs.Needs = 2
	opens(needs, "")
	if err := pgdb.Migrate(t.Context(), cfg, files(3, 2)); err != nil {
		t.Fatal(err)
	}
	opens(files(3, 0), "")
	opens(files(2, 0), "")
	opens(files(1, 0), "start a newer mailfarm")
	if err := pgdb.Migrate(t.Context(), cfg, files(1, 0)); !errors.Is(err, pgdb.ErrSchema) {
		t.Errorf("Migrate by one too old: %v", err)
	}
	if err := pgdb.Migrate(t.Context(), cfg, files(2, 0)); err != nil {
		t.Errorf("Migrate by one that is old but can serve: %v", err)
	}
}

func TestValidate(t *testing.T) {
	err := pgdb.Config{URL: "postgres://h:x:y", MaxConns: 1, LockTimeout: -1}.Validate()
	for _, key := range []string{"url", "max_conns", "lock_timeout"} {
		if err == nil || !strings.Contains(err.Error(), key+":") {
			t.Errorf("no %s in: %v", key, err)
		}
	}
	if err := pgdb.Defaults().Validate(); err != nil {
		t.Error(err)
	}
	// Files are missed by who uses the database, and only then.
	for key, cfg := range map[string]pgdb.Config{
		"password_file": {URL: "postgres://u@h/d", PasswordFile: "/nowhere"},
		"url":           {URL: "postgres://u@h/d?sslmode=verify-full&sslrootcert=/nowhere"},
	} {
		if err := cfg.Validate(); err != nil {
			t.Error(err)
		}
		if err := pgdb.Migrate(t.Context(), cfg, pgdb.Schema{}); err == nil || !strings.Contains(err.Error(), key+":") {
			t.Errorf("no %s in: %v", key, err)
		}
	}
}
