package pgdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Schema is a set of tables that is migrated together.
type Schema struct {
	// Name is lower case letters; the versions are kept in the table <name>_version.
	Name string
	// FS has goose's SQL migrations in its root: 00001_first.sql. They are additive. One that an older program cannot live
	// with says so by its own statement: UPDATE schema_lowest SET lowest = <version> WHERE name = '<name>'.
	FS fs.FS
	// Needs is the lowest version with which the program works. Default the highest that it knows.
	Needs int64
}

// known is the highest version in FS.
func (s Schema) known() (int64, error) {
	names, err := fs.Glob(s.FS, "*.sql")
	if err != nil {
		return 0, fmt.Errorf("read migrations: %w", err)
	}
	var highest int64
	for _, name := range names {
		digits, _, _ := strings.Cut(path.Base(name), "_")
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("migration %s has no number", name)
		}
		highest = max(highest, n)
	}
	if highest == 0 {
		return 0, fmt.Errorf("schema %s has no migrations", s.Name)
	}
	return highest, nil
}

// lockID keeps two processes from migrating one database at once.
const lockID = 0x6d61696c6661726d // "mailfarm"

// Migrate brings the schema up to what this program knows; others that do so at the same time wait. A schema that is newer
// already is left alone where this program can serve it, and is ErrSchema otherwise.
func Migrate(ctx context.Context, cfg Config, schema Schema) error {
	if err := migrate(ctx, cfg.withDefaults(), schema); err != nil {
		return fmt.Errorf("migrate schema %s: %w", schema.Name, err)
	}
	return nil
}

func migrate(ctx context.Context, cfg Config, schema Schema) error {
	c, err := poolConfig(cfg)
	if err != nil {
		return err
	}
	known, err := schema.known()
	if err != nil {
		return err
	}
	if c.BeforeConnect != nil {
		if err := c.BeforeConnect(ctx, c.ConnConfig); err != nil {
			return err
		}
	}
	db := stdlib.OpenDB(*c.ConnConfig)
	defer db.Close()
	// Locks of other transactions are waited for, not for ever.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(lockID), lock.WithLockTimeout(1, 300))
	if err != nil {
		return err
	}
	have, lowest, err := versions(ctx, db, schema.Name)
	if err != nil {
		return classify(ctx, err, Code(err) == "")
	}
	if have > known {
		return fits(schema, have, lowest, known)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, schema.FS, goose.WithTableName(schema.Name+"_version"),
		goose.WithSessionLocker(locker), goose.WithAllowOutofOrder(false), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if err := makeLowest(ctx, db, schema.Name, locker); err != nil {
		return classify(ctx, err, false)
	}
	if _, err := provider.Up(ctx); err != nil {
		return classify(ctx, err, false)
	}
	return nil
}

// makeLowest makes the table of the lowest program versions, and the schema's row in it.
func makeLowest(ctx context.Context, db *sql.DB, name string, locker lock.SessionLocker) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := locker.SessionLock(ctx, conn); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer func() { err = errors.Join(err, locker.SessionUnlock(context.WithoutCancel(ctx), conn)) }()
	if _, err := conn.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS schema_lowest (name TEXT NOT NULL PRIMARY KEY, lowest BIGINT NOT NULL)"); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, "INSERT INTO schema_lowest (name, lowest) VALUES ($1, 0) ON CONFLICT DO NOTHING", name)
	return err
}

// querier is a pool of either kind.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// versions tells the schema's version and the lowest program version that can serve it; 0 where there is no schema.
func versions(ctx context.Context, db querier, name string) (have, lowest int64, err error) {
	err = db.QueryRowContext(ctx, versionsQuery(name)).Scan(&have, &lowest)
	if Code(err) == "42P01" { // undefined table
		return 0, 0, nil
	}
	return have, lowest, err
}

func versionsQuery(name string) string {
	return "SELECT COALESCE(MAX(version_id), 0), COALESCE((SELECT lowest FROM schema_lowest WHERE name = '" + name + "'), 0) FROM " +
		pgx.Identifier{name + "_version"}.Sanitize() + " WHERE is_applied"
}

// check refuses a schema that this program cannot serve.
func (db *DB) check(ctx context.Context, schema Schema) error {
	known, err := schema.known()
	if err != nil {
		return err
	}
	var have, lowest int64
	err = db.Read(ctx, func(tx *ReadTx) error {
		err := tx.QueryRow(versionsQuery(schema.Name)).Scan(&have, &lowest)
		if Code(err) == "42P01" {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	return fits(schema, have, lowest, known)
}

func fits(schema Schema, have, lowest, known int64) error {
	needs := schema.Needs
	if needs == 0 {
		needs = known
	}
	switch {
	case have < needs:
		return fmt.Errorf("%w: schema %s has version %d and this program needs %d: run `mailfarm setup` of this program first",
			ErrSchema, schema.Name, have, needs)
	case lowest > known:
		return fmt.Errorf("%w: schema %s has version %d, which programs that know less than %d cannot serve; this one knows %d: start a newer mailfarm",
			ErrSchema, schema.Name, have, lowest, known)
	}
	return nil
}
