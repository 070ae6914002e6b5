package sqlite

import (
	"context"
	"fmt"
	"strings"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/search"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

var _ search.Rows = (*Ledger)(nil)

// putSearch adds a row to what messages are found by.
func putSearch(tx *sqlitedb.Tx, data []byte, at int64) error {
	if len(data) == 0 {
		return nil
	}
	for {
		n, err := tx.Exec("INSERT INTO search (at_ns, data) VALUES (?, ?) ON CONFLICT DO NOTHING", at, data)
		if err != nil {
			return fmt.Errorf("write search row: %w", err)
		}
		if n > 0 {
			return nil
		}
		// Batches that share a transaction may share its moment.
		if err := tx.QueryRow("SELECT max(at_ns) + 1 FROM search").Scan(&at); err != nil {
			return fmt.Errorf("find room for a search row: %w", err)
		}
	}
}

// searchRows goes down the table by its key; what has no needle is passed over where it lies.
func searchRows(needles int) string {
	return "SELECT at_ns, data FROM search WHERE at_ns < ? AND at_ns >= ?" + strings.Repeat(" AND instr(data, ?) > 0", needles) +
		" ORDER BY at_ns DESC LIMIT ?"
}

// SearchRows reads rows with needles; see search.Rows.
func (l *Ledger) SearchRows(ctx context.Context, before search.Key, since int64, needles [][]byte, limit int) ([]search.Row, error) {
	args := []any{before.At, since}
	for _, n := range needles {
		args = append(args, n)
	}
	var found []search.Row
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query(searchRows(len(needles)), append(args, limit)...)
		return eachRow(rows, err, func() error {
			var r search.Row
			err := rows.Scan(&r.At, &r.Data)
			found = append(found, r)
			return err
		})
	})
	return found, wrap("read search rows", err)
}

// searchable tells whether every message has its search row.
func (l *Ledger) searchable(ctx context.Context) (whole bool, err error) {
	err = l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return tx.QueryRow("SELECT NOT EXISTS (SELECT 1 FROM search_old)").Scan(&whole)
	})
	return whole, wrap("look for messages without search rows", err)
}

// FillSearch gives messages of an older schema their search rows; see ledger.Accounts.
func (l *Ledger) FillSearch(ctx context.Context, limit int) (more bool, err error) {
	if whole, err := l.searchable(ctx); err != nil || whole {
		return false, err
	}
	var ids [][]byte
	err = l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query("SELECT queue_id FROM message WHERE queue_id > (SELECT done FROM search_old) ORDER BY queue_id LIMIT ?", limit)
		return eachRow(rows, err, func() error {
			var id []byte
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
	})
	if err != nil {
		return false, wrap("find messages without search rows", err)
	}
	entries, err := l.Load(ctx, ids)
	if err != nil {
		return false, err
	}
	err = l.write(ctx, func(tx *sqlitedb.Tx) error {
		if len(ids) == 0 {
			_, err := tx.Exec("DELETE FROM search_old")
			return err
		}
		// The row is written as of its last message, so that it is not older than any of them.
		data, at := search.Old(entries)
		if err := putSearch(tx, data, at); err != nil {
			return err
		}
		_, err := tx.Exec("UPDATE search_old SET done = ?", ids[len(ids)-1])
		return err
	})
	return err == nil && len(ids) > 0, wrap("write search rows", err)
}

// pruneSearch removes rows from before a time that speak of no message any more, at most limit.
func (l *Ledger) pruneSearch(ctx context.Context, before int64, limit int) error {
	after := int64(0)
	for limit > 0 {
		var page []search.Row
		err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
			rows, err := tx.Query("SELECT at_ns, data FROM search WHERE at_ns > ? AND at_ns < ? ORDER BY at_ns LIMIT ?", after, before, manyIDs)
			return eachRow(rows, err, func() error {
				var r search.Row
				err := rows.Scan(&r.At, &r.Data)
				page = append(page, r)
				return err
			})
		})
		if err != nil || len(page) == 0 {
			return wrap("find search rows to prune", err)
		}
		after, limit = page[len(page)-1].At, limit-len(page)
		gone, err := search.Gone(ctx, page, l.Known)
		if err != nil {
			return err
		}
		err = l.write(ctx, func(tx *sqlitedb.Tx) error {
			for _, r := range gone {
				if _, err := tx.Exec("DELETE FROM search WHERE at_ns = ?", r.At); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return wrap("prune search rows", err)
		}
	}
	return nil
}

// find lists by conditions that no search row helps with, or while not every message has one: newest first.
func (l *Ledger) find(ctx context.Context, q *storev1.QueueListRequest, each func([]*storev1.LedgerEntry) error) error {
	left, before := search.Limit(q), q.Before
	for left > 0 {
		var ids []envelope.QueueID
		err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
			query, args := listQuery(q, before, min(left, ledger.ListDefault))
			rows, err := tx.Query(query, args...)
			return eachRow(rows, err, func() error {
				var id []byte
				if err := rows.Scan(&id); err != nil {
					return err
				}
				ids = append(ids, envelope.QueueID(id))
				return nil
			})
		})
		if err != nil {
			return fmt.Errorf("list messages: %w", err)
		}
		more := len(ids) == min(left, ledger.ListDefault)
		err = search.Pages(ctx, l, q, ids, func(page []*storev1.LedgerEntry) error {
			left -= len(page)
			return each(page)
		})
		if err != nil || !more {
			return err
		}
		before = ids[len(ids)-1][:]
	}
	return nil
}
