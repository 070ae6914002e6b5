package sqlite

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/search"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// actBatch is how many messages one transaction acts on, so that an action on all of them lets others in between.
const actBatch = 4 * manyIDs

// deletedReply is what stays on record of a recipient that an operator deleted.
const deletedReply = "250 2.0.0 deleted by an operator"

// Rows under a running claim are left alone: their attempt may have its final dot behind it.
const unclaimed = " AND (claim_owner = '' OR claim_ns <= ?)"

// actions are the statements behind the actions. All begin with (now, due) and go on with (now of the claims, address,
// address, ids…); an address of ” is any.
var actions = map[storev1.Action]string{
	storev1.Action_ACTION_RETRY: `UPDATE recipient SET changed_ns = ?, due_ns = ?, state = 1
		WHERE state IN (1, 9) AND destination IN (1, 2)` + unclaimed,
	storev1.Action_ACTION_HOLD: `UPDATE recipient SET changed_ns = ?, due_ns = ?, state = 2, claim_owner = '', claim_ns = 0
		WHERE state = 1` + unclaimed,
	storev1.Action_ACTION_RELEASE: `UPDATE recipient SET changed_ns = ?, due_ns = ?, state = 1
		WHERE state IN (2, 3) AND destination IN (1, 2)` + unclaimed,
	storev1.Action_ACTION_DELETE: `UPDATE recipient SET changed_ns = ?, due_ns = ?, state = 8, claim_owner = '', claim_ns = 0,
		last_reply = '` + deletedReply + `' WHERE due_ns IS NOT NULL` + unclaimed,
}

const onAddress = " AND ('' = ? OR forward_path = ? COLLATE NOCASE)"

// Act changes recipients; see ledger.Operator.
func (l *Ledger) Act(ctx context.Context, req *storev1.ActRequest) (uint32, error) {
	if actions[req.Action] == "" {
		return 0, fmt.Errorf("act: %w: action %d", ledger.ErrInvalid, req.Action)
	}
	if err := checkIDs(req.QueueIds); err != nil {
		return 0, fmt.Errorf("act: %w", err)
	}
	ids := req.QueueIds
	if req.All && len(ids) == 0 {
		var err error
		if ids, err = l.openIDs(ctx); err != nil {
			return 0, fmt.Errorf("list open messages: %w", err)
		}
	}
	var total uint32
	for len(ids) > 0 {
		batch := ids[:min(actBatch, len(ids))]
		ids = ids[len(batch):]
		var changed int64
		err := l.write(ctx, func(tx *sqlitedb.Tx) (err error) {
			changed, err = act(tx, req, batch, l.clock())
			return err
		})
		if err != nil {
			return total, fmt.Errorf("act on %d messages: %w", len(batch), err)
		}
		total += uint32(changed)
	}
	return total, nil
}

// openIDs lists all messages that wait, and frames that wait for a decision.
func (l *Ledger) openIDs(ctx context.Context) (ids [][]byte, err error) {
	err = l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query(`SELECT DISTINCT queue_id FROM recipient WHERE due_ns IS NOT NULL
			UNION SELECT queue_id FROM withheld WHERE decision = ?`, ledger.Undecided)
		return eachRow(rows, err, func() error {
			var id []byte
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
	})
	return ids, err
}

func act(tx *sqlitedb.Tx, req *storev1.ActRequest, ids [][]byte, now int64) (int64, error) {
	var due any = now
	switch req.Action {
	case storev1.Action_ACTION_HOLD:
		due = int64(neverDue)
	case storev1.Action_ACTION_DELETE:
		due = nil
	}
	var total int64
	err := eachList(ids, func(marks string, args []any) error {
		all := append([]any{now, due, now, req.ForwardPath, req.ForwardPath}, args...)
		n, err := tx.Exec(actions[req.Action]+onAddress+" AND queue_id IN "+marks, all...)
		total += n
		return err
	})
	if err != nil {
		return 0, err
	}
	if req.Action == storev1.Action_ACTION_DELETE {
		var words search.Writer
		for _, id := range ids {
			words.Report(&storev1.Report{QueueId: id, Outcomes: []*storev1.Outcome{{Reply: deletedReply}}})
		}
		if err := putSearch(tx, words.Data(), now); err != nil {
			return 0, err
		}
	}
	n, err := rerouteAll(tx, req, ids, now)
	if err != nil {
		return 0, err
	}
	total += n
	if req.ForwardPath == "" {
		n, err := decide(tx, req.Action, ids, now)
		return total + n, err
	}
	return total, nil
}

// decide lets recovery publish frames beyond its horizon, or leaves them for good.
func decide(tx *sqlitedb.Tx, action storev1.Action, ids [][]byte, now int64) (int64, error) {
	var d ledger.Decision
	switch action {
	case storev1.Action_ACTION_RELEASE:
		d = ledger.Released
	case storev1.Action_ACTION_DELETE:
		d = ledger.Discarded
	default:
		return 0, nil
	}
	var total int64
	err := eachList(ids, func(marks string, args []any) error {
		all := append([]any{int64(d), now, int64(ledger.Undecided)}, args...)
		n, err := tx.Exec("UPDATE withheld SET decision = ?, changed_ns = ? WHERE decision = ? AND queue_id IN "+marks, all...)
		total += n
		return err
	})
	return total, err
}

// rerouteAll sends messages through the router again that never got a destination: poison that is to be retried, and what
// the filter quarantined as a whole and is to be released.
func rerouteAll(tx *sqlitedb.Tx, req *storev1.ActRequest, ids [][]byte, now int64) (int64, error) {
	var state storev1.State
	switch req.Action {
	case storev1.Action_ACTION_RETRY:
		state = storev1.State_STATE_DEAD
	case storev1.Action_ACTION_RELEASE:
		state = storev1.State_STATE_QUARANTINED
	default:
		return 0, nil
	}
	var found [][]byte
	err := eachList(ids, func(marks string, args []any) error {
		all := append([]any{int64(state), req.ForwardPath, req.ForwardPath}, args...)
		rows, err := tx.Query(`SELECT queue_id FROM recipient WHERE state = ? AND destination NOT IN (1, 2)`+onAddress+` AND queue_id IN `+marks+`
			GROUP BY queue_id HAVING count(*) = (SELECT count(*) FROM recipient r WHERE r.queue_id = recipient.queue_id)`, all...)
		return eachRow(rows, err, func() error {
			var id []byte
			err := rows.Scan(&id)
			found = append(found, id)
			return err
		})
	})
	if err != nil {
		return 0, err
	}
	var total int64
	for _, id := range found {
		n, err := reroute(tx, id, req.Action == storev1.Action_ACTION_RELEASE, now)
		if err != nil {
			return 0, fmt.Errorf("reroute %x: %w", id, err)
		}
		total += n
	}
	return total, nil
}

// reroute moves a message from its rows to the outbox, from where the router gets it and records it anew. Envelope and part
// index are left to the frame's tail; accept overrules the filter.
func reroute(tx *sqlitedb.Tx, id []byte, accept bool, now int64) (int64, error) {
	stored, err := messagesOf(tx, [][]byte{id})
	if err != nil {
		return 0, err
	}
	s := stored[[16]byte(id)]
	if s == nil {
		return 0, ledger.ErrNotFound
	}
	m, err := decodeMessage(s.queueID, s.blobID, s.data)
	if err != nil {
		return 0, err
	}
	verdict := m.Verdict
	if accept && verdict != nil {
		verdict = proto.Clone(verdict).(*mailv1.Verdict)
		verdict.Action = mailv1.Action_ACTION_ACCEPT
	}
	if err := putOutbox(tx, id, []*mailv1.Accepted{{QueueId: id, BlobId: m.BlobId, Verdict: verdict}}, now); err != nil {
		return 0, err
	}
	if err := changeHours(tx, [][]byte{id}); err != nil {
		return 0, err
	}
	return deleteRows(tx, id)
}

// deleteRows removes a message with its recipients, and tells how many these were.
func deleteRows(tx *sqlitedb.Tx, id []byte) (int64, error) {
	n, err := tx.Exec("DELETE FROM recipient WHERE queue_id = ?", id)
	if err != nil {
		return 0, err
	}
	if _, err := tx.Exec("DELETE FROM payload WHERE queue_id = ?", id); err != nil {
		return 0, err
	}
	_, err = tx.Exec("DELETE FROM message WHERE queue_id = ?", id)
	return n, err
}
