package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/search"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// List hands over messages that match; see ledger.Operator.
//
// There are no indexes for addresses and message-ids, which would cost every message two pages of writing: what people
// search by stands in rows of its own (ledger/search), all else is found by passing the narrow rows, newest first.
func (l *Ledger) List(ctx context.Context, q *storev1.QueueListRequest, each func([]*storev1.LedgerEntry) error) error {
	for _, id := range [][]byte{q.QueueId, q.Before} {
		if len(id) != 0 {
			if err := checkIDs([][]byte{id}); err != nil {
				return fmt.Errorf("list: %w", err)
			}
		}
	}
	if search.Wanted(q) {
		whole, err := l.searchable(ctx)
		if err != nil {
			return err
		}
		if whole {
			return search.Find(ctx, l, q, each)
		}
	}
	return l.find(ctx, q, each)
}

// listQuery selects at most limit ids below one, newest first. Conditions that it does not know are left to search.Matches.
func listQuery(q *storev1.QueueListRequest, before []byte, limit int) (string, []any) {
	var where []string
	var args []any
	add := func(cond string, values ...any) {
		where, args = append(where, cond), append(args, values...)
	}
	if len(q.QueueId) != 0 {
		add("m.queue_id = ?", q.QueueId)
	}
	if len(before) != 0 {
		add("m.queue_id < ?", before)
	}
	if q.ReversePath != "" && !strings.HasPrefix(q.ReversePath, "@") {
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
	if q.ForwardPath != "" && !strings.HasPrefix(q.ForwardPath, "@") {
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
