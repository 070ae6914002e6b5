package join

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// Bounds of a batch of rows.
const (
	batchRows  = 2000
	batchBytes = 8 << 20
)

// directory copies domains, accounts and aliases, and what unknown users' salts come from.
func (j *joiner) directory(ctx context.Context) error {
	for _, t := range directoryTables {
		if err := j.copyTable(ctx, t, j.src.accounts.Read); err != nil {
			return err
		}
	}
	secret, err := j.src.accounts.Secret(ctx)
	if err != nil {
		return err
	}
	version, err := j.src.accounts.Version(ctx)
	if err != nil {
		return err
	}
	return j.dst.db.Write(ctx, func(tx *pgdb.Tx) error {
		accounts, err := stepOf(&tx.ReadTx, j.book.site, "directory_account")
		if err != nil {
			return err
		}
		// A farm that had accounts before goes on telling of unknown users what it told.
		_, err = tx.Exec(`UPDATE directory_state SET version = GREATEST(version, $1) + 1, secret = CASE WHEN $2 THEN $3 ELSE secret END WHERE id = 1`,
			int64(version), accounts.before == 0, secret)
		return err
	})
}

// rows copies mailboxes, ledger and queue.
func (j *joiner) rows(ctx context.Context) error {
	for _, t := range indexTables {
		if err := j.copyTable(ctx, t, j.src.index.Read); err != nil {
			return err
		}
		if t.target != "withheld" {
			continue
		}
		if err := j.withhold(ctx); err != nil {
			return fmt.Errorf("withhold what is beyond the horizon: %w", err)
		}
	}
	return j.pruned(ctx)
}

// withhold notes what recovery of the site would have, had it come to it.
func (j *joiner) withhold(ctx context.Context) error {
	now := j.deps.Now().UnixNano()
	return j.book.each(ctx, "need = 3 AND state = 1", func(e entry) error {
		return j.dst.db.Write(ctx, func(tx *pgdb.Tx) error {
			_, err := tx.Exec("INSERT INTO withheld (queue_id, blob_id, found_ns, decision, changed_ns) VALUES ($1, $2, $3, 1, $3) ON CONFLICT DO NOTHING",
				e.queueID, e.place.Bytes(), now)
			return err
		})
	})
}

// pruned tells how far the ledger forgot.
func (j *joiner) pruned(ctx context.Context) error {
	before := int64(0)
	err := j.src.index.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return tx.QueryRow("SELECT COALESCE(MAX(before_ns), 0) FROM pruned").Scan(&before)
	})
	if err != nil || before == 0 {
		return err
	}
	return j.dst.db.Write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec(`INSERT INTO pruned (id, before_ns) VALUES (1, $1)
			ON CONFLICT (id) DO UPDATE SET before_ns = GREATEST(pruned.before_ns, excluded.before_ns)`, before)
		return err
	})
}

// errMoved is a table that another process copies as well.
var errMoved = errors.New("another join of this site is at work")

// copyTable copies the rest of a table.
func (j *joiner) copyTable(ctx context.Context, t *table, read reading) error {
	s, err := j.dst.step(ctx, j.book.site, t.target)
	if err != nil {
		return err
	}
	began, told, first := time.Now(), time.Now(), s.rows
	for !s.done {
		rows, next, err := t.batch(ctx, read, s.position)
		if err == nil && t.change != nil {
			err = t.change(ctx, j, rows)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", t.source, err)
		}
		to := step{position: next, rows: s.rows + int64(len(rows)), before: s.before, done: len(rows) == 0}
		err = j.dst.db.Write(ctx, func(tx *pgdb.Tx) error {
			at, err := stepOf(&tx.ReadTx, j.book.site, t.target)
			if err != nil {
				return err
			}
			if at != s {
				return errMoved
			}
			if err := t.put(tx, rows); err != nil {
				return err
			}
			return move(tx, j.book.site, t.target, to)
		})
		if pgdb.Code(err) == "23505" {
			err = fmt.Errorf("%w: %w", ErrConflict, err)
		}
		if err != nil {
			return fmt.Errorf("write %s behind row %d: %w", t.target, s.rows, err)
		}
		s = to
		if err := j.fault("rows-written"); err != nil {
			return err
		}
		if took := time.Since(began); s.done && s.rows > first || time.Since(told) > sayEvery {
			told = time.Now()
			j.deps.Say("%s: %d rows, %.0f/s", t.target, s.rows, float64(s.rows-first)/max(took, time.Millisecond).Seconds())
		}
	}
	return nil
}

// reading is a database of the site.
type reading func(context.Context, func(*sqlitedb.ReadTx) error) error

// batch reads the rows behind a position, and tells the position behind them; no rows at the end.
func (t *table) batch(ctx context.Context, read reading, position string) (rows [][]any, next string, err error) {
	order := strings.Join(t.order, ", ")
	query := "SELECT " + t.readColumns() + " FROM " + t.source
	after, err := t.decodePosition(position)
	if err != nil {
		return nil, "", err
	}
	if len(after) > 0 {
		query += " WHERE (" + order + ") > (" + strings.Repeat("?, ", len(after)-1) + "?)"
	}
	query += fmt.Sprintf(" ORDER BY %s LIMIT %d", order, batchRows)
	size := 0
	err = read(ctx, func(tx *sqlitedb.ReadTx) error {
		found, err := tx.Query(query, after...)
		if err != nil {
			return err
		}
		defer found.Close()
		for size < batchBytes && found.Next() {
			row, n, err := t.scan(found.Scan)
			if err != nil {
				return err
			}
			rows, size = append(rows, row), size+n
		}
		return found.Err()
	})
	if err != nil || len(rows) == 0 {
		return nil, position, err
	}
	next, err = t.encodePosition(rows[len(rows)-1])
	return rows, next, err
}

// scan reads a row as the farm takes it, and how many octets it has.
func (t *table) scan(scan func(...any) error) (row []any, size int, err error) {
	row = make([]any, len(t.columns))
	to := make([]any, len(row))
	for i, c := range t.columns {
		switch c.kind {
		case number:
			to[i] = new(int64)
		case text:
			to[i] = new(string)
		case octets:
			to[i] = new([]byte)
		case boolean:
			to[i] = new(bool)
		case maybeNumber:
			to[i] = new(*int64)
		case maybeOctets:
			to[i] = new([]byte)
		}
	}
	if err := scan(to...); err != nil {
		return nil, 0, err
	}
	for i, c := range t.columns {
		size += 8
		switch v := to[i].(type) {
		case *int64:
			row[i] = *v
		case *string:
			row[i] = plain(*v)
			size += len(*v)
		case *bool:
			row[i] = *v
		case *[]byte:
			size += len(*v)
			switch {
			case c.kind == maybeOctets && *v == nil:
				row[i] = nil
			case *v == nil:
				row[i] = []byte{}
			default:
				row[i] = *v
			}
		case **int64:
			if row[i] = nil; *v != nil {
				row[i] = **v
			}
		}
	}
	return row, size, nil
}

// plain is text as PostgreSQL takes it: index/postgres writes it so as well.
func plain(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}

// encodePosition names a row by its key.
func (t *table) encodePosition(row []any) (string, error) {
	var key []any
	for _, name := range t.order {
		key = append(key, row[t.at(name)])
	}
	b, err := json.Marshal(key)
	return string(b), err
}

func (t *table) decodePosition(s string) ([]any, error) {
	if s == "" {
		return nil, nil
	}
	var parts []json.RawMessage
	if err := json.Unmarshal([]byte(s), &parts); err != nil {
		return nil, err
	}
	key := make([]any, len(t.order))
	for i, name := range t.order {
		var err error
		switch t.columns[t.at(name)].kind {
		case number:
			var n int64
			err = json.Unmarshal(parts[i], &n)
			key[i] = n
		case text:
			var s string
			err = json.Unmarshal(parts[i], &s)
			key[i] = s
		default:
			var b []byte
			err = json.Unmarshal(parts[i], &b)
			key[i] = b
		}
		if err != nil {
			return nil, err
		}
	}
	return key, nil
}

// put writes rows, all of which are new unless the table is one that is merged.
func (t *table) put(tx *pgdb.Tx, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	if !t.merge {
		_, err := tx.CopyFrom(t.target, t.names(), pgx.CopyFromRows(rows))
		return err
	}
	marks := make([]string, len(t.columns))
	for i := range marks {
		marks[i] = fmt.Sprintf("$%d", i+1)
	}
	insert := "INSERT INTO " + t.target + " (" + strings.Join(t.names(), ", ") + ") VALUES (" + strings.Join(marks, ", ") +
		") ON CONFLICT (" + strings.Join(t.key, ", ") + ") DO NOTHING"
	b := &pgx.Batch{}
	for _, r := range rows {
		b.Queue(insert, r...)
	}
	return tx.Run(b)
}

// places tells where frames are in the farm. What could not be copied is as absent there under its old ID.
func (j *joiner) places(ctx context.Context, ids []blob.ID) (map[blob.ID]blob.ID, error) {
	found, err := j.book.has(ctx, ids)
	if err != nil {
		return nil, err
	}
	places := make(map[blob.ID]blob.ID, len(ids))
	for _, id := range ids {
		e, ok := found[id]
		switch {
		case !ok:
			return nil, fmt.Errorf("frame %v was not planned for", id)
		case e.state == copied:
			places[id] = e.place
		case e.state == open:
			return nil, fmt.Errorf("frame %v was not copied", id)
		default:
			places[id] = id
		}
	}
	return places, nil
}
