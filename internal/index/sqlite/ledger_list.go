package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// List hands over messages that match; see ledger.Operator.
//
// There are no indexes for addresses and message-ids, which would cost every message two pages of writing: a search passes
// the narrow rows, newest first, and ends at its limit.
func (l *Ledger) List(ctx context.Context, q *storev1.QueueListRequest, each func([]*storev1.LedgerEntry) error) error {
	if len(q.QueueId) != 0 {
		if err := checkIDs([][]byte{q.QueueId}); err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
	var ids [][]byte
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		query, args := listQuery(q)
		rows, err := tx.Query(query, args...)
		return eachRow(rows, err, func() error {
			var id []byte
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("list messages: %w", err)
	}
	for len(ids) > 0 {
		page := ids[:min(ledger.ListPage, len(ids))]
		ids = ids[len(page):]
		entries, err := l.Load(ctx, page)
		if err != nil {
			return err
		}
		found := entries[:0]
		for _, e := range entries {
			if e.Message != nil { // pruned since
				found = append(found, e)
			}
		}
		if len(found) == 0 {
			continue
		}
		if err := each(found); err != nil {
			return err
		}
	}
	return nil
}

// listQuery selects ids, newest first.
func listQuery(q *storev1.QueueListRequest) (string, []any) {
	var where []string
	var args []any
	add := func(cond string, values ...any) {
		where, args = append(where, cond), append(args, values...)
	}
	if len(q.QueueId) != 0 {
		add("m.queue_id = ?", q.QueueId)
	}
	if q.ReversePath != "" {
		// The null reverse-path is asked for as people write it.
		add("m.reverse_path = ? COLLATE NOCASE", strings.TrimSuffix(strings.TrimPrefix(q.ReversePath, "<"), ">"))
	}
	if q.MessageId != "" {
		bare := strings.TrimSuffix(strings.TrimPrefix(q.MessageId, "<"), ">")
		add("m.message_id IN (?, ?)", bare, "<"+bare+">")
	}
	if q.SinceNs != 0 {
		add("m.accepted_ns >= ?", q.SinceNs)
	}
	if q.UntilNs != 0 {
		// An id is made before its message is accepted, so that what comes later need not be looked at.
		add("m.accepted_ns <= ? AND m.queue_id < ?", q.UntilNs, idAfter(q.UntilNs))
	}
	if q.UnfinishedOnly {
		add("m.queue_id IN (SELECT queue_id FROM recipient WHERE due_ns IS NOT NULL)")
	}
	if cond, values := recipientCondition(q); cond != "" {
		add("m.queue_id IN (SELECT queue_id FROM recipient WHERE "+cond+")", values...)
	}
	limit := min(q.Limit, ledger.ListMax)
	if limit == 0 {
		limit = ledger.ListDefault
	}
	query := "SELECT m.queue_id FROM message m"
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	return query + " ORDER BY m.queue_id DESC LIMIT ?", append(args, limit)
}

// recipientCondition is what one and the same recipient must be.
func recipientCondition(q *storev1.QueueListRequest) (string, []any) {
	var where []string
	var args []any
	if q.ForwardPath != "" {
		where = append(where, "(forward_path = ? COLLATE NOCASE OR original = ? COLLATE NOCASE)")
		args = append(args, q.ForwardPath, q.ForwardPath)
	}
	if len(q.States) > 0 {
		open := true
		for _, s := range q.States {
			open = open && !ledger.IsFinal(s)
			args = append(args, int64(s))
		}
		cond := "state IN (?" + strings.Repeat(",?", len(q.States)-1) + ")"
		if open {
			cond += " AND due_ns IS NOT NULL" // so that the small index serves
		}
		where = append(where, cond)
	}
	return strings.Join(where, " AND "), args
}

// idAfter is a queue id above all that were made up to a time.
func idAfter(ns int64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(time.Unix(0, ns).UnixMilli()+1)<<16)
	id := make([]byte, 16)
	copy(id, b[:6])
	return id
}
