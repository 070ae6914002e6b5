package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// storedMessage is a message's row and payload, not yet decoded.
type storedMessage struct {
	queueID, blobID, data []byte
	recorded              int64
}

// Load reads messages; see ledger.Hot.
func (l *Ledger) Load(ctx context.Context, ids [][]byte) ([]*storev1.LedgerEntry, error) {
	if err := checkIDs(ids); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	var messages map[[16]byte]*storedMessage
	var recipients map[[16]byte][]*storev1.RecipientRow
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) (err error) {
		if messages, err = messagesOf(tx, ids); err != nil {
			return err
		}
		recipients, err = recipientsOf(tx, ids)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load %d messages: %w", len(ids), err)
	}
	entries := make([]*storev1.LedgerEntry, len(ids))
	for i, id := range ids {
		entries[i] = &storev1.LedgerEntry{}
		m := messages[[16]byte(id)]
		if m == nil {
			continue
		}
		if entries[i].Message, err = decodeMessage(m.queueID, m.blobID, m.data); err != nil {
			return nil, err
		}
		entries[i].Recipients, entries[i].RecordedNs = recipients[[16]byte(id)], m.recorded
	}
	return entries, nil
}

func messagesOf(tx querier, ids [][]byte) (map[[16]byte]*storedMessage, error) {
	found := make(map[[16]byte]*storedMessage, len(ids))
	err := eachList(ids, func(marks string, args []any) error {
		rows, err := tx.Query(`SELECT m.queue_id, m.blob_id, m.recorded_ns, p.data FROM message m JOIN payload p ON p.queue_id = m.queue_id
			WHERE m.queue_id IN `+marks, args...)
		return eachRow(rows, err, func() error {
			m := &storedMessage{}
			if err := rows.Scan(&m.queueID, &m.blobID, &m.recorded, &m.data); err != nil {
				return err
			}
			found[[16]byte(m.queueID)] = m
			return nil
		})
	})
	return found, err
}

func recipientsOf(tx querier, ids [][]byte) (map[[16]byte][]*storev1.RecipientRow, error) {
	found := make(map[[16]byte][]*storev1.RecipientRow, len(ids))
	err := eachList(ids, func(marks string, args []any) error {
		rows, err := tx.Query("SELECT queue_id, "+recipientColumns+" FROM recipient WHERE queue_id IN "+marks+" ORDER BY queue_id, number", args...)
		var id sql.RawBytes
		return eachRow(rows, err, func() error {
			r, err := scanRecipient(rows, &id)
			if err != nil {
				return err
			}
			key := [16]byte(id)
			found[key] = append(found[key], r)
			return nil
		})
	})
	return found, err
}

// Known tells whether the ledger has rows; see ledger.Queue.
func (l *Ledger) Known(ctx context.Context, ids [][]byte) ([]ledger.Known, error) {
	if err := checkIDs(ids); err != nil {
		return nil, fmt.Errorf("look up messages: %w", err)
	}
	blobs := make(map[[16]byte][]byte, len(ids))
	err := l.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		return eachList(ids, func(marks string, args []any) error {
			rows, err := tx.Query("SELECT queue_id, blob_id FROM message WHERE queue_id IN "+marks, args...)
			var id sql.RawBytes
			return eachRow(rows, err, func() error {
				var blobID []byte
				if err := rows.Scan(&id, &blobID); err != nil {
					return err
				}
				blobs[[16]byte(id)] = blobID
				return nil
			})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("look up %d messages: %w", len(ids), err)
	}
	known := make([]ledger.Known, len(ids))
	for i, id := range ids {
		known[i].BlobID, known[i].Found = blobs[[16]byte(id)]
	}
	return known, nil
}
