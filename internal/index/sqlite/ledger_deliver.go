package sqlite

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// recipientState is what Deliver must know of a recipient's row.
type recipientState struct {
	state       storev1.State
	destination storev1.Destination
	account     uint64
	generation  uint32
}

// recipientRow reads what the ledger says of a recipient; ledger.ErrNotFound where it knows nothing of it.
func recipientRow(tx *sqlitedb.Tx, queueID []byte, number uint32) (recipientState, error) {
	var r recipientState
	var account int64
	err := tx.QueryRow("SELECT state, destination, account, generation FROM recipient WHERE queue_id = ? AND number = ?",
		queueID, number).Scan(&r.state, &r.destination, &account, &r.generation)
	if errors.Is(err, sql.ErrNoRows) {
		return r, ledger.ErrNotFound
	}
	if err != nil {
		return r, fmt.Errorf("read recipient %d: %w", number, err)
	}
	r.account = uint64(account)
	return r, nil
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
