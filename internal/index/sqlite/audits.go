package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// changeHours notes that messages came to the hours of ids, or went, in the transaction that lets them.
func changeHours(tx *sqlitedb.Tx, ids [][]byte) error {
	noted := map[int64]bool{}
	for _, id := range ids {
		hour := ledger.HourOf(envelope.QueueID(id))
		if noted[hour] {
			continue
		}
		noted[hour] = true
		if _, err := tx.Exec(`INSERT INTO audit_hour (hour, changed) VALUES (?, 1)
			ON CONFLICT (hour) DO UPDATE SET changed = changed + 1, unit = NULL`, hour); err != nil {
			return fmt.Errorf("note the change of an hour: %w", err)
		}
	}
	return nil
}

// AuditHours reads what is kept of hours; see ledger.Audits.
func (l *Ledger) AuditHours(ctx context.Context) (map[int64]ledger.AuditHour, error) {
	hours := map[int64]ledger.AuditHour{}
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
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
	return wrap("keep an audited hour", l.write(ctx, func(tx *sqlitedb.Tx) error {
		if h.Changed == 0 {
			_, err := tx.Exec(`INSERT INTO audit_hour (hour, changed, unit) VALUES (?, 0, ?)
				ON CONFLICT (hour) DO UPDATE SET unit = excluded.unit WHERE changed = 0`, h.Hour, h.Unit)
			return err
		}
		_, err := tx.Exec("UPDATE audit_hour SET unit = ? WHERE hour = ? AND changed = ?", h.Unit, h.Hour, h.Changed)
		return err
	}))
}

// AuditStretches reads what is kept of segments; see ledger.Audits.
func (l *Ledger) AuditStretches(ctx context.Context, incarnation uint64) ([]ledger.AuditStretch, error) {
	var stretches []ledger.AuditStretch
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		rows, err := tx.Query(`SELECT first_segment, first_position, end_segment, end_position, unit FROM audit_stretch
			WHERE incarnation = ? ORDER BY first_segment, first_position`, int64(incarnation))
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
	return wrap("keep audited segments", l.write(ctx, func(tx *sqlitedb.Tx) error {
		if _, err := tx.Exec(`DELETE FROM audit_stretch WHERE incarnation = ? AND (first_segment, first_position) >= (?, ?)
			AND (first_segment, first_position) < (?, ?)`, int64(first.Incarnation), first.Segment, first.Offset, end.Segment, end.Offset); err != nil {
			return err
		}
		for _, s := range stretches {
			if _, err := tx.Exec(`INSERT INTO audit_stretch (incarnation, first_segment, first_position, end_segment, end_position, unit)
				VALUES (?, ?, ?, ?, ?, ?)`, int64(s.First.Incarnation), s.First.Segment, s.First.Offset, s.End.Segment, s.End.Offset, s.Unit); err != nil {
				return err
			}
		}
		return nil
	}))
}

// forgetStretches drops what an audit kept of a segment that was removed.
const forgetStretches = "DELETE FROM audit_stretch WHERE incarnation = ? AND first_segment <= ? AND end_segment >= ?"

// ForgetSegment drops what is kept; see ledger.Audits.
func (l *Ledger) ForgetSegment(ctx context.Context, incarnation uint64, segment uint32) error {
	return wrap("forget an audited segment", l.write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(forgetStretches, int64(incarnation), segment, segment)
		return err
	}))
}

// SaveAudit keeps a report; see ledger.Audits.
func (l *Ledger) SaveAudit(ctx context.Context, a ledger.AuditReport) error {
	result, err := proto.Marshal(a.Result)
	if err != nil {
		return fmt.Errorf("encode an audit: %w", err)
	}
	return wrap("save an audit", l.write(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(`INSERT INTO audit_report (id, auditor, at_ns, full_ns, result) VALUES (1, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET auditor = excluded.auditor, at_ns = excluded.at_ns, full_ns = excluded.full_ns, result = excluded.result`,
			a.Auditor, a.At.UnixNano(), a.Full.UnixNano(), result)
		return err
	}))
}

// LastAudit reads the latest report; see ledger.Audits.
func (l *Ledger) LastAudit(ctx context.Context) (ledger.AuditReport, error) {
	a := ledger.AuditReport{Result: &storev1.AuditResponse{}}
	var at, full int64
	var result []byte
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return tx.QueryRow("SELECT auditor, at_ns, full_ns, result FROM audit_report WHERE id = 1").Scan(&a.Auditor, &at, &full, &result)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return ledger.AuditReport{}, nil
	}
	if err != nil {
		return ledger.AuditReport{}, wrap("read the latest audit", err)
	}
	a.At, a.Full = time.Unix(0, at), time.Unix(0, full)
	return a, wrap("decode the latest audit", proto.Unmarshal(result, a.Result))
}
