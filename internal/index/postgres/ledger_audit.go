package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	accountColumns = `SELECT queue_id, blob_id, kind, accepted_ns, recorded_ns, recipients FROM message `
	walkMessages   = accountColumns + `WHERE queue_id > $1 ORDER BY queue_id LIMIT $2`
	accountsByID   = accountColumns + `WHERE queue_id = ANY($1) ORDER BY queue_id`
	// accountRows tells of each recipient whether the index has its dedupe row, which is looked up by its key: a join of the
	// whole tables would be tempting to a planner that takes a batch for large.
	accountRows = `SELECT r.queue_id, r.number, r.state, r.destination, d.filed IS NOT NULL FROM recipient r
		LEFT JOIN LATERAL (SELECT true AS filed FROM delivered d
			WHERE d.account = r.account AND d.queue_id = r.queue_id AND d.number = r.number LIMIT 1) d ON true
		WHERE r.queue_id = ANY($1) ORDER BY r.queue_id, r.number`
)

// Walk reads messages in the order of ids; see ledger.Accounts.
func (l *Ledger) Walk(ctx context.Context, after envelope.QueueID, limit int) ([]ledger.Account, error) {
	found, err := l.accounts(ctx, walkMessages, after[:], limit)
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
	if err := checkIDs(ids...); err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	found, err := l.accounts(ctx, accountsByID, ids)
	if err != nil {
		return nil, fmt.Errorf("read %d accounts: %w", len(ids), err)
	}
	byID := make(map[envelope.QueueID]*ledger.Account, len(ids))
	for _, a := range found {
		byID[a.ID] = a
	}
	accounts := make([]*ledger.Account, len(ids))
	for i, id := range ids {
		accounts[i] = byID[envelope.QueueID(id)]
	}
	return accounts, nil
}

// accounts reads the messages of a query, which are in the order of ids, with their recipients.
func (l *Ledger) accounts(ctx context.Context, query string, args ...any) (found []*ledger.Account, err error) {
	err = l.db.Read(ctx, func(tx *pgdb.ReadTx) (err error) {
		rows, err := tx.Query(query, args...)
		if found, err = scanAccounts(rows, err); err != nil || len(found) == 0 {
			return err
		}
		ids := make([][]byte, len(found))
		for i, a := range found {
			ids[i] = a.ID[:]
		}
		rows, err = tx.Query(accountRows, ids)
		return addRows(found, rows, err)
	})
	return found, err
}

func scanAccounts(rows pgx.Rows, err error) ([]*ledger.Account, error) {
	var found []*ledger.Account
	err = eachRow(rows, err, func() error {
		a := &ledger.Account{}
		var id pgtype.DriverBytes
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
func addRows(found []*ledger.Account, rows pgx.Rows, err error) error {
	at := 0
	return eachRow(rows, err, func() error {
		var id pgtype.DriverBytes
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
