package postgres

import (
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/mailfarm/mailfarm/internal/index/unit"
)

const (
	// lockRecipients locks rows of the ledger and reads what is delivered by them.
	lockRecipients = `SELECT r.queue_id, r.number, r.state, r.destination, r.account, r.generation
		FROM unnest($1::bytea[], $2::bigint[]) AS k (queue_id, number)
		JOIN recipient r ON r.queue_id = k.queue_id AND r.number = k.number
		ORDER BY r.queue_id, r.number FOR NO KEY UPDATE OF r`
	settleRows = `UPDATE recipient r SET state = 4, attempts = r.attempts + 1, due_ns = NULL, changed_ns = ` + clockNs + `,
			claim_owner = '', claim_ns = 0
		FROM unnest($2::bytea[], $3::bigint[]) AS k (queue_id, number)
		WHERE r.queue_id = k.queue_id AND r.number = k.number`
)

// queueRecipients makes a batch lock recipients, in the order of their keys, and read what the ledger says of them; those
// that it does not know are missing.
func queueRecipients(b *pgx.Batch, keys []recipientKey, states map[recipientKey]unit.Recipient) {
	ids, numbers := columns(keys)
	b.Queue(lockRecipients, ids, numbers).Query(func(rows pgx.Rows) error {
		err := eachRow(rows, nil, func() error {
			var id pgtype.DriverBytes
			var k recipientKey
			var r unit.Recipient
			var account int64
			if err := rows.Scan(&id, &k.number, &r.State, &r.Destination, &account, &r.Generation); err != nil {
				return err
			}
			k.id, r.Account = [16]byte(id), uint64(account)
			states[k] = r
			return nil
		})
		if err != nil {
			return fmt.Errorf("read recipients: %w", err)
		}
		return nil
	})
}

// queueSettled makes a batch set the final state of recipients whose rows are locked and whose messages are filed.
func queueSettled(b *pgx.Batch, keys []recipientKey, clock pgtype.Int8) {
	if len(keys) > 0 {
		ids, numbers := columns(keys)
		b.Queue(settleRows, clock, ids, numbers)
	}
}
