package sqlite

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/search"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Report enters outcomes; see ledger.Hot.
func (l *Ledger) Report(ctx context.Context, reports []*storev1.Report) ([]*storev1.ReportResult, error) {
	var words search.Writer
	for _, r := range reports {
		if err := checkReport(r); err != nil {
			return nil, fmt.Errorf("report on %x: %w", r.GetQueueId(), err)
		}
		words.Report(r)
	}
	results := make([]*storev1.ReportResult, len(reports))
	err := l.write(ctx, func(tx *sqlitedb.Tx) error {
		now := l.clock()
		for i, r := range reports {
			accepted, err := reportOne(tx, r, now)
			if err != nil {
				return fmt.Errorf("report on %x: %w", r.QueueId, err)
			}
			results[i] = &storev1.ReportResult{Accepted: accepted}
		}
		return putSearch(tx, words.Data(), now)
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func checkReport(r *storev1.Report) error {
	if err := checkIDs([][]byte{r.GetQueueId()}); err != nil {
		return err
	}
	if len(r.Outcomes) == 0 {
		return fmt.Errorf("%w: no outcome", ledger.ErrInvalid)
	}
	for _, o := range r.Outcomes {
		if o.State <= storev1.State_STATE_UNSPECIFIED || o.State > storev1.State_STATE_DEAD {
			return fmt.Errorf("%w: recipient %d to state %d", ledger.ErrInvalid, o.Number, o.State)
		}
	}
	for _, c := range r.Children {
		if err := checkIDs([][]byte{c.GetQueueId()}); err != nil {
			return err
		}
	}
	return nil
}

// standingRow is what a report is checked against.
type standingRow struct {
	queued     bool
	generation uint32
	owner      string
	claim      int64
	expiry     int64
}

func reportOne(tx *sqlitedb.Tx, r *storev1.Report, now int64) (bool, error) {
	standing, err := standingRows(tx, r)
	if err != nil {
		return false, err
	}
	for _, o := range r.Outcomes {
		row, ok := standing[o.Number]
		if !ok || !row.queued || row.generation != r.Generation {
			return false, nil
		}
		if mine := row.owner == r.Owner; !mine && (r.Owner != "" || row.claim > now) {
			return false, nil
		}
	}
	if err := putOutbox(tx, r.QueueId, r.Children, now); err != nil {
		return false, err
	}
	for _, o := range r.Outcomes {
		if err := enterOutcome(tx, r.QueueId, o, standing[o.Number], now); err != nil {
			return false, err
		}
	}
	return true, nil
}

// standingRows reads the rows that a report speaks of: one by its key, several by one pass over the message's.
func standingRows(tx *sqlitedb.Tx, r *storev1.Report) (map[uint32]standingRow, error) {
	const columns = "SELECT number, state, generation, claim_owner, claim_ns, expiry_ns FROM recipient WHERE queue_id = ?"
	query, args := columns, []any{r.QueueId}
	if len(r.Outcomes) == 1 {
		query, args = columns+" AND number = ?", append(args, r.Outcomes[0].Number)
	}
	standing := make(map[uint32]standingRow, len(r.Outcomes))
	rows, err := tx.Query(query, args...)
	err = eachRow(rows, err, func() error {
		var number uint32
		var state storev1.State
		var row standingRow
		if err := rows.Scan(&number, &state, &row.generation, &row.owner, &row.claim, &row.expiry); err != nil {
			return err
		}
		row.queued = state == storev1.State_STATE_QUEUED
		standing[number] = row
		return nil
	})
	return standing, err
}

func enterOutcome(tx *sqlitedb.Tx, queueID []byte, o *storev1.Outcome, row standingRow, now int64) error {
	r := &storev1.RecipientRow{State: o.State, DueNs: ledger.DueAt(o, row.expiry, now)}
	due := dueColumn(r, now)
	again, tried := 0, 0
	if o.State == storev1.State_STATE_QUEUED {
		again = 1
	}
	if o.Reply != "" {
		tried = 1
	}
	reply := cut(o.Reply)
	_, err := tx.Exec(`UPDATE recipient SET state = ?, generation = generation + ?, attempts = attempts + ?,
		last_reply = CASE WHEN ? = '' THEN last_reply ELSE ? END, relay = CASE WHEN ? = '' THEN relay ELSE ? END,
		due_ns = ?, changed_ns = ?, delay_notified = delay_notified OR ?, claim_owner = '', claim_ns = 0
		WHERE queue_id = ? AND number = ?`,
		int64(o.State), again, tried, reply, reply, o.Relay, o.Relay, due, now, o.DelayNotified, queueID, o.Number)
	if err != nil {
		return fmt.Errorf("recipient %d: %w", o.Number, err)
	}
	return nil
}
