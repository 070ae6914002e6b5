package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/mailfarm/mailfarm/internal/ledger/search"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

var _ search.Rows = (*Ledger)(nil)

const (
	putWords = `INSERT INTO search (at_ns, nonce, data) VALUES (` + clockNs + `, $2, $3)`
	oldWords = `SELECT at_ns, nonce, data FROM search WHERE (at_ns, nonce) > ($1, $2) AND at_ns < $3 ORDER BY at_ns, nonce LIMIT $4`
	dropOld  = `DELETE FROM search s USING unnest($1::bigint[], $2::bigint[]) AS k (at_ns, nonce)
		WHERE s.at_ns = k.at_ns AND s.nonce = k.nonce`
)

// nonce tells rows of one moment apart.
func nonce() int64 { return rand.Int64() }

// queueWords makes a batch add a row to what messages are found by.
func queueWords(b *pgx.Batch, data []byte, clock pgtype.Int8) {
	if len(data) > 0 {
		b.Queue(putWords, clock, nonce(), data)
	}
}

// searchRows goes down the table by its key; what has no needle is passed over where it lies.
func searchRows(needles int) string {
	var has strings.Builder
	for i := range needles {
		fmt.Fprintf(&has, " AND position($%d::bytea IN data) > 0", 5+i)
	}
	return `SELECT at_ns, nonce, data FROM search WHERE (at_ns, nonce) < ($1, $2) AND at_ns >= $3` + has.String() +
		` ORDER BY at_ns DESC, nonce DESC LIMIT $4`
}

// SearchRows reads rows with needles; see search.Rows.
func (l *Ledger) SearchRows(ctx context.Context, before search.Key, since int64, needles [][]byte, limit int) ([]search.Row, error) {
	args := []any{before.At, before.Nonce, since, limit}
	for _, n := range needles {
		args = append(args, n)
	}
	found, err := l.searchRows(ctx, searchRows(len(needles)), args...)
	return found, wrap("read search rows", err)
}

func (l *Ledger) searchRows(ctx context.Context, query string, args ...any) (found []search.Row, err error) {
	err = l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		rows, err := tx.Query(query, args...)
		return eachRow(rows, err, func() error {
			var r search.Row
			err := rows.Scan(&r.At, &r.Nonce, &r.Data)
			found = append(found, r)
			return err
		})
	})
	return found, err
}

// FillSearch has nothing to do: here no message was ever recorded without its search row. See ledger.Accounts.
func (l *Ledger) FillSearch(context.Context, int) (more bool, err error) { return false, nil }

// pruneSearch removes rows from before a time that speak of no message any more, at most limit.
func (l *Ledger) pruneSearch(ctx context.Context, before int64, limit int) error {
	var after search.Key
	for limit > 0 {
		page, err := l.searchRows(ctx, oldWords, after.At, after.Nonce, before, pruneBatch)
		if err != nil || len(page) == 0 {
			return wrap("find search rows to prune", err)
		}
		after, limit = page[len(page)-1].Key, limit-len(page)
		gone, err := search.Gone(ctx, page, l.Known)
		if err != nil {
			return err
		}
		if err := l.dropSearch(ctx, gone); err != nil {
			return wrap("prune search rows", err)
		}
	}
	return nil
}

func (l *Ledger) dropSearch(ctx context.Context, rows []search.Row) error {
	if len(rows) == 0 {
		return nil
	}
	at, nonces := make([]int64, len(rows)), make([]int64, len(rows))
	for i, r := range rows {
		at[i], nonces[i] = r.At, r.Nonce
	}
	return l.write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec(dropOld, at, nonces)
		return err
	})
}
