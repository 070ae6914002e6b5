package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const accountColumns = "SELECT queue_id, blob_id, kind, accepted_ns, recorded_ns, recipients FROM message "

// rowColumns tells of each recipient whether the index has its dedupe row: the key of that begins with the queue id, too.
const rowColumns = `SELECT r.queue_id, r.number, r.state, r.destination, d.queue_id IS NOT NULL FROM recipient r
	LEFT JOIN delivered d ON d.queue_id = r.queue_id AND d.number = r.number AND d.account = r.account `

// Walk reads messages in the order of ids; see ledger.Accounts.
func (l *Ledger) Walk(ctx context.Context, after envelope.QueueID, limit int) ([]ledger.Account, error) {
	var found []*ledger.Account
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) (err error) {
		found, err = accounts(tx.Query(accountColumns+"WHERE queue_id > ? ORDER BY queue_id LIMIT ?", after[:], limit))
		if err != nil || len(found) == 0 {
			return err
		}
		last := found[len(found)-1].ID
		rows, err := tx.Query(rowColumns+"WHERE r.queue_id > ? AND r.queue_id <= ? ORDER BY r.queue_id, r.number", after[:], last[:])
		return addRows(found, rows, err)
	})
	if err != nil {
		return nil, fmt.Errorf("walk the ledger: %w", err)
	}
	walked := make([]ledger.Account, len(found))
	for i, a := range found {
		walked[i] = *a
	}
	return walked, nil
}

// Accounts reads messages by their ids; see ledger.Accounts.
func (l *Ledger) Accounts(ctx context.Context, ids [][]byte) ([]*ledger.Account, error) {
	if err := checkIDs(ids); err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	byID := make(map[envelope.QueueID]*ledger.Account, len(ids))
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return eachList(ids, func(marks string, args []any) error {
			found, err := accounts(tx.Query(accountColumns+"WHERE queue_id IN "+marks+" ORDER BY queue_id", args...))
			if err != nil || len(found) == 0 {
				return err
			}
			rows, err := tx.Query(rowColumns+"WHERE r.queue_id IN "+marks+" ORDER BY r.queue_id, r.number", args...)
			for _, a := range found {
				byID[a.ID] = a
			}
			return addRows(found, rows, err)
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read %d accounts: %w", len(ids), err)
	}
	accounts := make([]*ledger.Account, len(ids))
	for i, id := range ids {
		accounts[i] = byID[envelope.QueueID(id)]
	}
	return accounts, nil
}

func accounts(rows *sql.Rows, err error) ([]*ledger.Account, error) {
	var found []*ledger.Account
	var id sql.RawBytes
	err = eachRow(rows, err, func() error {
		a := &ledger.Account{}
		var accepted, recorded int64
		if err := rows.Scan(&id, &a.BlobID, &a.Kind, &accepted, &recorded, &a.Envelope); err != nil {
			return err
		}
		a.ID, a.Accepted, a.Recorded = envelope.QueueID(id), time.Unix(0, accepted), time.Unix(0, recorded)
		found = append(found, a)
		return nil
	})
	return found, err
}

// addRows gives messages in the order of ids their recipients in the same order.
func addRows(found []*ledger.Account, rows *sql.Rows, err error) error {
	var id sql.RawBytes
	at := 0
	return eachRow(rows, err, func() error {
		var r ledger.AccountRow
		var to storev1.Destination
		if err := rows.Scan(&id, &r.Number, &r.State, &to, &r.Filed); err != nil {
			return err
		}
		r.Local = to == storev1.Destination_DESTINATION_LOCAL
		for at < len(found) && found[at].ID != envelope.QueueID(id) {
			at++
		}
		if at == len(found) {
			return fmt.Errorf("recipient of unknown message %x", []byte(id))
		}
		found[at].Rows = append(found[at].Rows, r)
		return nil
	})
}
