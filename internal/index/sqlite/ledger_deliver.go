package sqlite

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// recipientRow reads what the ledger says of a recipient; ledger.ErrNotFound where it knows nothing of it.
func recipientRow(tx *sqlitedb.Tx, queueID []byte, number uint32) (unit.Recipient, error) {
	var r unit.Recipient
	var account int64
	err := tx.QueryRow("SELECT state, destination, account, generation FROM recipient WHERE queue_id = ? AND number = ?",
		queueID, number).Scan(&r.State, &r.Destination, &account, &r.Generation)
	if errors.Is(err, sql.ErrNoRows) {
		return r, ledger.ErrNotFound
	}
	r.Account = uint64(account)
	return r, err
}

// markDelivered makes a recipient's state final. It goes last in Deliver; now is in nanoseconds since 1970 UTC.
func markDelivered(tx *sqlitedb.Tx, queueID []byte, number uint32, now int64) error {
	_, err := tx.Exec(`UPDATE recipient SET state = 4, attempts = attempts + 1, due_ns = NULL, changed_ns = ?, claim_owner = '', claim_ns = 0
		WHERE queue_id = ? AND number = ?`, now, queueID, number)
	if err != nil {
		return fmt.Errorf("mark recipient %d delivered: %w", number, err)
	}
	return nil
}
