package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/search"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// List hands over messages that match; see ledger.Operator.
//
// There are no indexes for addresses and message-ids, which would cost every message two pages of writing: what people
// search by stands in rows of its own (ledger/search), all else is found by passing the narrow rows, newest first.
func (l *Ledger) List(ctx context.Context, q *storev1.QueueListRequest, each func([]*storev1.LedgerEntry) error) error {
	for _, id := range [][]byte{q.QueueId, q.Before} {
		if len(id) != 0 {
			if err := checkIDs(id); err != nil {
				return fmt.Errorf("list: %w", err)
			}
		}
	}
	if search.Wanted(q) {
		return search.Find(ctx, l, q, each)
	}
	return l.find(ctx, q, each)
}

// find lists by conditions that no search row helps with, newest first.
func (l *Ledger) find(ctx context.Context, q *storev1.QueueListRequest, each func([]*storev1.LedgerEntry) error) error {
	left, before := search.Limit(q), q.Before
	for left > 0 {
		limit := min(left, ledger.ListDefault)
		ids, err := l.listIDs(ctx, q, before, limit)
		if err != nil {
			return fmt.Errorf("list messages: %w", err)
		}
		err = search.Pages(ctx, l, q, ids, func(page []*storev1.LedgerEntry) error {
			left -= len(page)
			return each(page)
		})
		if err != nil || len(ids) < limit {
			return err
		}
		before = ids[len(ids)-1][:]
	}
	return nil
}

func (l *Ledger) listIDs(ctx context.Context, q *storev1.QueueListRequest, before []byte, limit int) (ids []envelope.QueueID, err error) {
	query, args := listQuery(q, before, limit)
	err = l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
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
	return ids, err
}

// dialogue bounds the time between a message's id, made at MAIL, and its acceptance.
const dialogue = 24 * time.Hour

// conditions gathers what a query's rows must be, with the values for it.
type conditions struct {
	where []string
	args  []any
}

// add takes a condition in which each ? stands for the next value.
func (c *conditions) add(cond string, values ...any) {
	for _, v := range values {
		c.args = append(c.args, v)
		cond = strings.Replace(cond, "?", "$"+strconv.Itoa(len(c.args)), 1)
	}
	c.where = append(c.where, cond)
}

// listQuery selects at most limit ids below one, newest first. Conditions that it does not know are left to search.Matches.
func listQuery(q *storev1.QueueListRequest, before []byte, limit int) (string, []any) {
	var c conditions
	if len(q.QueueId) != 0 {
		c.add("m.queue_id = ?", q.QueueId)
	}
	if len(before) != 0 {
		c.add("m.queue_id < ?", before)
	}
	if q.ReversePath != "" && !strings.HasPrefix(q.ReversePath, "@") {
		// The null reverse-path is asked for as people write it.
		c.add(`lower(m.reverse_path) = lower(?::text COLLATE "C")`, plain(strings.TrimSuffix(strings.TrimPrefix(q.ReversePath, "<"), ">")))
	}
	if q.MessageId != "" {
		bare := plain(strings.TrimSuffix(strings.TrimPrefix(q.MessageId, "<"), ">"))
		c.add("m.message_id IN (?, ?)", bare, "<"+bare+">")
	}
	if q.SinceNs != 0 {
		c.add("m.accepted_ns >= ? AND m.queue_id > ?", q.SinceNs, idAfter(max(q.SinceNs-int64(dialogue), 0)))
	}
	if q.UntilNs != 0 {
		// An id is made before its message is accepted, so that what comes later need not be looked at.
		c.add("m.accepted_ns <= ? AND m.queue_id < ?", q.UntilNs, idAfter(q.UntilNs))
	}
	if q.UnfinishedOnly {
		c.add("m.queue_id IN (SELECT queue_id FROM recipient WHERE due_ns IS NOT NULL)")
	}
	addRecipient(&c, q)
	query := "SELECT m.queue_id FROM message m"
	if len(c.where) > 0 {
		query += " WHERE " + strings.Join(c.where, " AND ")
	}
	c.args = append(c.args, limit)
	return query + " ORDER BY m.queue_id DESC LIMIT $" + strconv.Itoa(len(c.args)), c.args
}

// addRecipient adds what one and the same recipient must be.
func addRecipient(c *conditions, q *storev1.QueueListRequest) {
	r := conditions{args: c.args}
	if q.ForwardPath != "" && !strings.HasPrefix(q.ForwardPath, "@") {
		path := plain(q.ForwardPath)
		r.add(`(lower(forward_path) = lower(?::text COLLATE "C") OR lower(original) = lower(?::text COLLATE "C"))`, path, path)
	}
	if len(q.States) > 0 {
		open := true
		states := make([]int32, len(q.States))
		for i, s := range q.States {
			open = open && !ledger.IsFinal(s)
			states[i] = int32(s)
		}
		r.add("state = ANY(?)", states)
		if open {
			r.add("due_ns IS NOT NULL") // so that the small index serves
		}
	}
	if len(r.where) > 0 {
		c.args = r.args
		c.where = append(c.where, "m.queue_id IN (SELECT queue_id FROM recipient WHERE "+strings.Join(r.where, " AND ")+")")
	}
}
