package sqlite

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// putOutbox keeps the messages that a transaction gives rise to until the ledger has their own rows. owner is the
// transaction's key: the parent's queue id, or accountOwner of an account. A child made twice keeps the first.
// now, in nanoseconds since 1970 UTC, is when they are due: at once.
func putOutbox(tx *sqlitedb.Tx, owner []byte, children []*mailv1.Accepted, now int64) error {
	for _, c := range children {
		payload, err := proto.Marshal(c)
		if err != nil {
			return fmt.Errorf("encode child: %w", err)
		}
		if _, err := tx.Exec("INSERT INTO outbox (owner, child, payload, due_ns) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			owner, c.GetQueueId(), payload, now); err != nil {
			return fmt.Errorf("put child in the outbox: %w", err)
		}
	}
	return nil
}
