package postgres

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/ledger/search"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// standingRows locks the rows that reports speak of and reads what they are checked against.
	standingRows = `SELECT r.queue_id, r.number, r.state, r.generation, r.claim_owner, r.claim_ns, r.expiry_ns, ` + clockNs + `
		FROM unnest($2::bytea[], $3::bigint[]) AS o (queue_id, number)
		JOIN recipient r ON r.queue_id = o.queue_id AND r.number = o.number
		ORDER BY r.queue_id, r.number FOR UPDATE OF r`
	enterOutcomes = `UPDATE recipient r SET state = o.state, generation = o.generation, attempts = r.attempts + o.tried,
			last_reply = CASE o.reply WHEN '' THEN r.last_reply ELSE o.reply END, relay = CASE o.relay WHEN '' THEN r.relay ELSE o.relay END,
			due_ns = o.due_ns, changed_ns = $1, delay_notified = r.delay_notified OR o.notified, claim_owner = '', claim_ns = 0
		FROM unnest($2::bytea[], $3::bigint[], $4::integer[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::bigint[], $10::boolean[])
			AS o (queue_id, number, state, generation, tried, reply, relay, due_ns, notified)
		WHERE r.queue_id = o.queue_id AND r.number = o.number`
)

// Report enters outcomes; see ledger.Hot.
func (l *Ledger) Report(ctx context.Context, reports []*storev1.Report) ([]*storev1.ReportResult, error) {
	for _, r := range reports {
		if err := checkReport(r); err != nil {
			return nil, fmt.Errorf("report on %x: %w", r.GetQueueId(), err)
		}
	}
	var results []*storev1.ReportResult
	err := l.write(ctx, func(tx *pgdb.Tx) error {
		r := &reporting{rows: map[recipientKey]*standingRow{}}
		if err := r.lock(tx, l.clock(), reports); err != nil {
			return fmt.Errorf("read recipients: %w", err)
		}
		results = make([]*storev1.ReportResult, len(reports))
		for i, report := range reports {
			accepted, err := r.enter(report)
			if err != nil {
				return fmt.Errorf("report on %x: %w", report.QueueId, err)
			}
			results[i] = &storev1.ReportResult{Accepted: accepted}
		}
		return r.write(tx)
	})
	if err != nil {
		return nil, fmt.Errorf("report on %d messages: %w", len(reports), err)
	}
	return results, nil
}

func checkReport(r *storev1.Report) error {
	if err := checkIDs(r.GetQueueId()); err != nil {
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
		if err := checkIDs(c.GetQueueId()); err != nil {
			return err
		}
	}
	return nil
}

// recipientKey names a recipient's row.
type recipientKey struct {
	id     [16]byte
	number uint32
}

func (k recipientKey) compare(other recipientKey) int {
	return cmp.Or(bytes.Compare(k.id[:], other.id[:]), cmp.Compare(k.number, other.number))
}

// columns are keys as the database takes them, in the order of their locks.
func columns(keys []recipientKey) (ids [][]byte, numbers []int64) {
	slices.SortFunc(keys, recipientKey.compare)
	keys = slices.Compact(keys)
	ids, numbers = make([][]byte, len(keys)), make([]int64, len(keys))
	for i := range keys {
		ids[i], numbers[i] = keys[i].id[:], int64(keys[i].number)
	}
	return ids, numbers
}

// standingRow is what a report is checked against, and then what it makes of the row.
type standingRow struct {
	state      storev1.State
	generation uint32
	owner      string
	claim      int64
	expiry     int64

	// changed tells that a report was entered; tried and what follows came by it.
	changed      bool
	tried        int64
	reply, relay string
	due          pgtype.Int8
	notified     bool
}

// reporting is a batch of reports: their rows are locked and read together, changed in memory one report behind the other,
// and written together.
type reporting struct {
	now      int64
	rows     map[recipientKey]*standingRow
	children childArrays
	words    search.Writer
}

func (b *reporting) lock(tx *pgdb.Tx, clock pgtype.Int8, reports []*storev1.Report) error {
	var keys []recipientKey
	for _, r := range reports {
		for _, o := range r.Outcomes {
			keys = append(keys, recipientKey{[16]byte(r.QueueId), o.Number})
		}
	}
	ids, numbers := columns(keys)
	rows, err := tx.Query(standingRows, clock, ids, numbers)
	return eachRow(rows, err, func() error {
		var id pgtype.DriverBytes
		var key recipientKey
		row := &standingRow{}
		if err := rows.Scan(&id, &key.number, &row.state, &row.generation, &row.owner, &row.claim, &row.expiry, &b.now); err != nil {
			return err
		}
		key.id = [16]byte(id)
		b.rows[key] = row
		return nil
	})
}

// enter takes one report, or refuses all of it.
func (b *reporting) enter(r *storev1.Report) (bool, error) {
	owner := plain(r.Owner)
	for _, o := range r.Outcomes {
		row := b.rows[recipientKey{[16]byte(r.QueueId), o.Number}]
		if row == nil || row.state != storev1.State_STATE_QUEUED || row.generation != r.Generation {
			return false, nil
		}
		if mine := row.owner == owner; !mine && (owner != "" || row.claim > b.now) {
			return false, nil
		}
	}
	if err := b.children.add(r.QueueId, r.Children); err != nil {
		return false, err
	}
	for _, o := range r.Outcomes {
		b.rows[recipientKey{[16]byte(r.QueueId), o.Number}].enter(o, b.now)
	}
	b.words.Report(r)
	return true, nil
}

func (row *standingRow) enter(o *storev1.Outcome, now int64) {
	row.changed, row.state, row.owner, row.claim = true, o.State, "", 0
	row.due = dueColumn(&storev1.RecipientRow{State: o.State, DueNs: ledger.DueAt(o, row.expiry, now)}, now)
	if o.State == storev1.State_STATE_QUEUED {
		row.generation++
	}
	if o.Reply != "" {
		row.tried++
		row.reply = plain(cut(o.Reply))
	}
	if o.Relay != "" {
		row.relay = plain(o.Relay)
	}
	row.notified = row.notified || o.DelayNotified
}

// write puts children into the outbox, then changes states.
func (b *reporting) write(tx *pgdb.Tx) error {
	var keys []recipientKey
	for key, row := range b.rows {
		if row.changed {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	ids, numbers := columns(keys)
	n := len(keys)
	states, generations, tried := make([]int32, n), make([]int64, n), make([]int64, n)
	replies, relays, dues, notified := make([]string, n), make([]string, n), make([]pgtype.Int8, n), make([]bool, n)
	for i, key := range keys { // columns has put them in order
		row := b.rows[key]
		states[i], generations[i], tried[i] = int32(row.state), int64(row.generation), row.tried
		replies[i], relays[i], dues[i], notified[i] = row.reply, row.relay, row.due, row.notified
	}
	batch := &pgx.Batch{}
	clock := pgtype.Int8{Int64: b.now, Valid: true}
	b.children.queue(batch, clock)
	batch.Queue(enterOutcomes, b.now, ids, numbers, states, generations, tried, replies, relays, dues, notified)
	queueWords(batch, b.words.Data(), clock)
	if err := tx.Run(batch); err != nil {
		return fmt.Errorf("write outcomes: %w", err)
	}
	return nil
}
