package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	loadMessages = `SELECT m.queue_id, m.blob_id, m.recorded_ns, p.data FROM message m JOIN payload p ON p.queue_id = m.queue_id
		WHERE m.queue_id = ANY($1)`
	loadRecipients = `SELECT queue_id, ` + recipientColumns + ` FROM recipient WHERE queue_id = ANY($1) ORDER BY queue_id, number`
	knownMessages  = `SELECT queue_id, blob_id FROM message WHERE queue_id = ANY($1)`
)

// storedMessage is a message's row and payload, not yet decoded.
type storedMessage struct {
	queueID, blobID, data []byte
	recorded              int64
}

// loaded is what the database has of some messages.
type loaded struct {
	messages   map[[16]byte]*storedMessage
	recipients map[[16]byte][]*storev1.RecipientRow
}

// queueMessages makes a batch read messages.
func (l *loaded) queueMessages(b *pgx.Batch, ids [][]byte) {
	l.messages = make(map[[16]byte]*storedMessage, len(ids))
	b.Queue(loadMessages, ids).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			m := &storedMessage{}
			if err := rows.Scan(&m.queueID, &m.blobID, &m.recorded, &m.data); err != nil {
				return fmt.Errorf("scan message: %w", err)
			}
			l.messages[[16]byte(m.queueID)] = m
			return nil
		})
	})
}

// queueRecipients makes a batch read recipients, in the order of their numbers.
func (l *loaded) queueRecipients(b *pgx.Batch, ids [][]byte) {
	l.recipients = make(map[[16]byte][]*storev1.RecipientRow, len(ids))
	b.Queue(loadRecipients, ids).Query(func(rows pgx.Rows) error {
		return eachRow(rows, nil, func() error {
			id, r, err := scanRecipient(rows)
			if err == nil {
				l.recipients[id] = append(l.recipients[id], r)
			}
			return err
		})
	})
}

// Load reads messages; see ledger.Hot.
func (l *Ledger) Load(ctx context.Context, ids [][]byte) ([]*storev1.LedgerEntry, error) {
	if err := checkIDs(ids...); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	var found loaded
	err := l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		b := &pgx.Batch{}
		found.queueMessages(b, ids)
		found.queueRecipients(b, ids)
		return tx.Run(b)
	})
	if err != nil {
		return nil, fmt.Errorf("load %d messages: %w", len(ids), err)
	}
	entries := make([]*storev1.LedgerEntry, len(ids))
	for i, id := range ids {
		entries[i] = &storev1.LedgerEntry{}
		m := found.messages[[16]byte(id)]
		if m == nil {
			continue
		}
		if entries[i].Message, err = decodeMessage(m.queueID, m.blobID, m.data); err != nil {
			return nil, err
		}
		entries[i].Recipients, entries[i].RecordedNs = found.recipients[[16]byte(id)], m.recorded
	}
	return entries, nil
}

// Known tells whether the ledger has rows; see ledger.Queue.
func (l *Ledger) Known(ctx context.Context, ids [][]byte) ([]ledger.Known, error) {
	if err := checkIDs(ids...); err != nil {
		return nil, fmt.Errorf("look up messages: %w", err)
	}
	blobs := make(map[[16]byte][]byte, len(ids))
	err := l.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		clear(blobs)
		rows, err := tx.Query(knownMessages, ids)
		return eachRow(rows, err, func() error {
			var id, blobID []byte
			if err := rows.Scan(&id, &blobID); err != nil {
				return err
			}
			blobs[[16]byte(id)] = blobID
			return nil
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
