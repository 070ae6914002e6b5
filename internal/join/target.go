package join

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	accountpostgres "github.com/mailfarm/mailfarm/internal/account/postgres"
	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/index/postgres"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// target is the farm.
type target struct {
	db  *pgdb.DB
	s3  s3.Config
	log *slog.Logger
	// timeline is the one that accounts are written for.
	timeline int64
	// domains is the last position of a domain that was there before.
	domains int64
	// books tells that the schema has the tables of internal/reclaim.
	books bool
}

// What a join notes in the farm: which there were, and how far each table is. before is what the table held when it began.
const joinTables = `
	CREATE TABLE IF NOT EXISTS join_site (
		site        bytea  NOT NULL PRIMARY KEY,
		source      text   NOT NULL,
		timeline    bigint NOT NULL,
		-- domains is the position behind which those of the site come.
		domains     bigint NOT NULL,
		finished_ns bigint NOT NULL DEFAULT 0
	);
	CREATE TABLE IF NOT EXISTS join_step (
		site     bytea   NOT NULL,
		step     text    NOT NULL,
		position text    NOT NULL,
		rows     bigint  NOT NULL,
		before   bigint  NOT NULL,
		done     boolean NOT NULL,
		PRIMARY KEY (site, step)
	)`

// countTime is how long a statement may take that goes through a whole table.
const countTime = time.Hour

func openTarget(ctx context.Context, cfg Config, log *slog.Logger) (*target, error) {
	// This looks at both schemas, and begins the farm's first timeline.
	index, err := postgres.Open(ctx, cfg.Database, postgres.Options{Log: log})
	if err != nil {
		return nil, fmt.Errorf("the farm's database (`mailfarm setup` prepares it): %w", err)
	}
	index.Close()
	directory, err := pgdb.Open(ctx, cfg.Database, accountpostgres.Schema(), pgdb.Deps{Log: log})
	if err != nil {
		return nil, fmt.Errorf("the farm's database (`mailfarm setup` prepares it): %w", err)
	}
	directory.Close()
	database := cfg.Database
	database.StatementTimeout = max(database.StatementTimeout, countTime)
	db, err := pgdb.Open(ctx, database, postgres.Schema(), pgdb.Deps{Log: log})
	if err != nil {
		return nil, err
	}
	t := &target{db: db, s3: cfg.S3, log: log}
	err = db.Read(ctx, func(tx *pgdb.ReadTx) error {
		return tx.QueryRow("SELECT (SELECT max(timeline) FROM timeline), to_regclass('unnoted') IS NOT NULL").Scan(&t.timeline, &t.books)
	})
	if err == nil {
		err = t.idle(ctx)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return t, nil
}

// idle makes sure that no role works on the farm: stores hold leases while they live.
func (t *target) idle(ctx context.Context) error {
	var holder string
	err := t.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		return tx.QueryRow(`SELECT holder FROM lease WHERE expires_ns > (extract(epoch FROM clock_timestamp()) * 1e9)::bigint LIMIT 1`).Scan(&holder)
	})
	switch {
	case errors.Is(err, pgdb.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("the farm %w (%s holds a lease): stop its roles, and start them when the join is done", ErrRunning, holder)
}

// blobs opens the bucket; nothing is read from memory.
func (t *target) blobs(ctx context.Context) (*s3.Store, error) {
	cfg := t.s3
	cfg.CacheBytes = -1
	return s3.Open(ctx, cfg, s3.Options{Log: t.log})
}

// step is how far a table is.
type step struct {
	position     string
	rows, before int64
	done         bool
}

// begin names the join in the farm, or finds it there.
func (j *joiner) begin(ctx context.Context) error {
	bucket := fmt.Sprintf("%s %s/%s", j.cfg.S3.Endpoint, j.cfg.S3.Bucket, j.cfg.S3.Prefix)
	switch {
	case j.book.bucket != "" && j.book.bucket != bucket:
		return fmt.Errorf("%w: this join was begun with the bucket %s: go on with that one", ErrConflict, j.book.bucket)
	case j.book.source != "" && j.book.source != j.src.state:
		return fmt.Errorf("%w: the site was running after the join was begun (it was %s; it is %s): begin anew with an empty farm, without %s",
			ErrConflict, j.book.source, j.src.state, noteFile)
	}
	known, err := j.dst.find(ctx, j.book.site)
	if err != nil {
		return err
	}
	switch {
	case known:
	case j.cfg.VerifyOnly || j.book.finished:
		return fmt.Errorf("%w: its database knows nothing of this join", ErrConflict)
	default:
		if err := j.conflicts(ctx); err != nil {
			return err
		}
	}
	if j.book.bucket == "" {
		if err := j.beginNotes(ctx, bucket); err != nil {
			return err
		}
	}
	j.out.Site = fmt.Sprintf("%x", j.book.site)
	if known {
		return nil
	}
	if err := j.fault("between-notes"); err != nil {
		return err
	}
	return j.dst.begin(ctx, j.book.site, j.cfg.From)
}

// beginNotes notes also which incarnations have nothing to do with the join.
func (j *joiner) beginNotes(ctx context.Context, bucket string) error {
	blobs, err := j.dst.blobs(ctx)
	if err != nil {
		return err
	}
	list, err := blobs.Incarnations(ctx)
	if err := errors.Join(err, blobs.Close()); err != nil {
		return fmt.Errorf("list incarnations: %w", err)
	}
	return j.book.begin(ctx, bucket, j.src.state, list)
}

// find looks whether the farm knows the join, and reads its timeline: one that began later lets accounts jump.
func (t *target) find(ctx context.Context, site []byte) (known bool, err error) {
	err = t.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		return tx.QueryRow("SELECT timeline, domains FROM join_site WHERE site = $1", site).Scan(&t.timeline, &t.domains)
	})
	if errors.Is(err, pgdb.ErrNoRows) || pgdb.Code(err) == "42P01" { // no such table: no join was ever begun
		return false, nil
	}
	return err == nil, err
}

// begin names the join in the database, with what each table holds.
func (t *target) begin(ctx context.Context, site []byte, source string) error {
	return t.db.Write(ctx, func(tx *pgdb.Tx) error {
		if _, err := tx.Exec(joinTables); err != nil {
			return err
		}
		if err := tx.QueryRow(`INSERT INTO join_site (site, source, timeline, domains)
			SELECT $1, $2, $3, COALESCE(max(position), 0) FROM directory_domain RETURNING domains`, site, source, t.timeline).Scan(&t.domains); err != nil {
			return err
		}
		for _, m := range allTables {
			if _, err := tx.Exec("INSERT INTO join_step SELECT $1, $2, '', 0, count(*), false FROM "+m.target, site, m.target); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *target) finish(ctx context.Context, site []byte, now int64) error {
	for _, m := range allTables {
		if err := t.db.Write(ctx, func(tx *pgdb.Tx) error { _, err := tx.Exec("ANALYZE " + m.target); return err }); err != nil {
			return fmt.Errorf("analyse %s: %w", m.target, err)
		}
	}
	return t.db.Write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec("UPDATE join_site SET finished_ns = $2 WHERE site = $1", site, now)
		return err
	})
}

// step reads how far a table is.
func (t *target) step(ctx context.Context, site []byte, name string) (s step, err error) {
	err = t.db.Read(ctx, func(tx *pgdb.ReadTx) error { s, err = stepOf(tx, site, name); return err })
	return s, err
}

func stepOf(tx *pgdb.ReadTx, site []byte, name string) (s step, err error) {
	err = tx.QueryRow("SELECT position, rows, before, done FROM join_step WHERE site = $1 AND step = $2", site, name).
		Scan(&s.position, &s.rows, &s.before, &s.done)
	return s, err
}

// move notes how far a table is, in the transaction that brought it there.
func move(tx *pgdb.Tx, site []byte, name string, s step) error {
	n, err := tx.Exec("UPDATE join_step SET position = $3, rows = $4, done = $5 WHERE site = $1 AND step = $2", site, name, s.position, s.rows, s.done)
	if err == nil && n != 1 {
		err = fmt.Errorf("the farm forgot how far %s was", name)
	}
	return err
}

// settled keeps recovery from an incarnation, before its first frame is written. What it would have noted on its way, for
// room to be given back, is left as a gap that is closed later.
func (t *target) settled(ctx context.Context, incarnation uint64) error {
	return t.db.Write(ctx, func(tx *pgdb.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue(`INSERT INTO checkpoint (incarnation, segment, position, done, saved_ns)
			VALUES ($1, 0, 0, true, (extract(epoch FROM clock_timestamp()) * 1e9)::bigint)
			ON CONFLICT (incarnation) DO UPDATE SET done = true`, int64(incarnation))
		if t.books {
			batch.Queue("INSERT INTO unnoted (incarnation) VALUES ($1) ON CONFLICT DO NOTHING", int64(incarnation))
		}
		return tx.Run(batch)
	})
}

// nonce tells this site's search rows from those of others.
func nonce(site []byte) int64 { return int64(binary.BigEndian.Uint64(site) >> 1) }
