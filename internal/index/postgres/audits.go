package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	noteHours = `INSERT INTO audit_hour (hour, changed) SELECT h, 1 FROM unnest($1::bigint[]) AS h
		ON CONFLICT (hour) DO UPDATE SET changed = audit_hour.changed + 1, unit = NULL`
	keepNewHour = `INSERT INTO audit_hour (hour, changed, unit) VALUES ($1, 0, $2)
		ON CONFLICT (hour) DO UPDATE SET unit = excluded.unit WHERE audit_hour.changed = 0`
	keepHour    = `UPDATE audit_hour SET unit = $2 WHERE hour = $1 AND changed = $3`
	stretchesOf = `SELECT first_segment, first_position, end_segment, end_position, unit FROM audit_stretch
		WHERE incarnation = $1 ORDER BY first_segment, first_position`
	dropStretches = `DELETE FROM audit_stretch WHERE incarnation = $1 AND (first_segment, first_position) >= ($2, $3)
		AND (first_segment, first_position) < ($4, $5)`
	putStretch = `INSERT INTO audit_stretch (incarnation, first_segment, first_position, end_segment, end_position, unit)
		VALUES ($1, $2, $3, $4, $5, $6)`
	forgetStretches = `DELETE FROM audit_stretch WHERE incarnation = $1 AND first_segment <= $2 AND end_segment >= $2`
	saveAudit       = `INSERT INTO audit_report (id, auditor, at_ns, full_ns, result) VALUES (1, $1, $2, $3, $4)
		ON CONFLICT (id) DO UPDATE SET auditor = excluded.auditor, at_ns = excluded.at_ns, full_ns = excluded.full_ns, result = excluded.result`
	lastAudit = `SELECT auditor, at_ns, full_ns, result FROM audit_report WHERE id = 1`
)

// changedHours are the hours of ids, each once and in order.
func changedHours(ids [][]byte) []int64 {
	var hours []int64
	for _, id := range ids {
		hours = append(hours, ledger.HourOf(envelope.QueueID(id)))
	}
	slices.Sort(hours)
	return slices.Compact(hours)
}

// queueHours makes a batch note that messages came to the hours of ids, or went. It goes last in a transaction, in the order
// of hours, so that nobody waits for a lock who holds one of these.
func queueHours(b *pgx.Batch, ids [][]byte) {
	if len(ids) > 0 {
		b.Queue(noteHours, changedHours(ids))
	}
}

// noteLate notes the hours that a recording came late to.
func (r *recording) noteLate(tx *pgdb.Tx) error {
	var late [][]byte
	for id, recorded := range r.made {
		if _, changed := ledger.ChangedHour(id, time.Unix(0, recorded)); changed {
			late = append(late, id[:])
		}
	}
	if len(late) == 0 {
		return nil
	}
	_, err := tx.Exec(noteHours, changedHours(late))
	return wrap("note the change of an hour", err)
}

// AuditHours reads what is kept of hours; see ledger.Audits.
func (l *Ledger) AuditHours(ctx context.Context) (map[int64]ledger.AuditHour, error) {
	hours := map[int64]ledger.AuditHour{}
	err := l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		clear(hours)
		rows, err := tx.Query("SELECT hour, changed, unit FROM audit_hour")
		return eachRow(rows, err, func() error {
			var h ledger.AuditHour
			err := rows.Scan(&h.Hour, &h.Changed, &h.Unit)
			hours[h.Hour] = h
			return err
		})
	})
	return hours, wrap("read audited hours", err)
}

// KeepHour keeps an hour; see ledger.Audits.
func (l *Ledger) KeepHour(ctx context.Context, h ledger.AuditHour) error {
	return wrap("keep an audited hour", l.write(ctx, func(tx *pgdb.Tx) error {
		if h.Changed == 0 {
			_, err := tx.Exec(keepNewHour, h.Hour, h.Unit)
			return err
		}
		_, err := tx.Exec(keepHour, h.Hour, h.Unit, h.Changed)
		return err
	}))
}

// AuditStretches reads what is kept of segments; see ledger.Audits.
func (l *Ledger) AuditStretches(ctx context.Context, incarnation uint64) ([]ledger.AuditStretch, error) {
	var stretches []ledger.AuditStretch
	err := l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		stretches = nil
		rows, err := tx.Query(stretchesOf, int64(incarnation))
		return eachRow(rows, err, func() error {
			s := ledger.AuditStretch{First: blob.Position{Incarnation: incarnation}, End: blob.Position{Incarnation: incarnation}}
			err := rows.Scan(&s.First.Segment, &s.First.Offset, &s.End.Segment, &s.End.Offset, &s.Unit)
			stretches = append(stretches, s)
			return err
		})
	})
	return stretches, wrap("read audited segments", err)
}

// KeepStretches keeps segments; see ledger.Audits.
func (l *Ledger) KeepStretches(ctx context.Context, stretches []ledger.AuditStretch) error {
	if len(stretches) == 0 {
		return nil
	}
	first, end := stretches[0].First, stretches[len(stretches)-1].End
	return wrap("keep audited segments", l.write(ctx, func(tx *pgdb.Tx) error {
		b := &pgx.Batch{}
		b.Queue(dropStretches, int64(first.Incarnation), int64(first.Segment), int64(first.Offset), int64(end.Segment), int64(end.Offset))
		for _, s := range stretches {
			b.Queue(putStretch, int64(s.First.Incarnation), int64(s.First.Segment), int64(s.First.Offset),
				int64(s.End.Segment), int64(s.End.Offset), s.Unit)
		}
		return tx.Run(b)
	}))
}

// ForgetSegment drops what is kept; see ledger.Audits.
func (l *Ledger) ForgetSegment(ctx context.Context, incarnation uint64, segment uint32) error {
	return wrap("forget an audited segment", l.write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec(forgetStretches, int64(incarnation), int64(segment))
		return err
	}))
}

// SaveAudit keeps a report; see ledger.Audits.
func (l *Ledger) SaveAudit(ctx context.Context, a ledger.AuditReport) error {
	result, err := proto.Marshal(a.Result)
	if err != nil {
		return fmt.Errorf("encode an audit: %w", err)
	}
	return wrap("save an audit", l.write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec(saveAudit, a.Auditor, a.At.UnixNano(), a.Full.UnixNano(), result)
		return err
	}))
}

// LastAudit reads the latest report; see ledger.Audits.
func (l *Ledger) LastAudit(ctx context.Context) (ledger.AuditReport, error) {
	a := ledger.AuditReport{Result: &storev1.AuditResponse{}}
	var at, full int64
	var result []byte
	err := l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		return tx.QueryRow(lastAudit).Scan(&a.Auditor, &at, &full, &result)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return ledger.AuditReport{}, nil
	}
	if err != nil {
		return ledger.AuditReport{}, wrap("read the latest audit", err)
	}
	a.At, a.Full = time.Unix(0, at), time.Unix(0, full)
	return a, wrap("decode the latest audit", proto.Unmarshal(result, a.Result))
}
