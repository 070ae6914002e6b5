package sqlite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// emailsBatch is how many emails one query asks for.
const emailsBatch = 64

// Emails is index.Mailboxes'.
func (m *Mailboxes) Emails(ctx context.Context, account mailbox.AccountID, ids []mailbox.EmailID, withPartIndex bool) ([]index.Email, error) {
	emails := make([]index.Email, 0, len(ids))
	err := m.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		have := make(map[mailbox.EmailID]index.Email, emailsBatch)
		for part := range slices.Chunk(ids, emailsBatch) {
			clear(have)
			if err := readEmails(tx, account, part, withPartIndex, have); err != nil {
				return err
			}
			for _, id := range part {
				if e, ok := have[id]; ok {
					emails = append(emails, e)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read emails of account %d: %w", account, err)
	}
	return emails, nil
}

const (
	emailsQuery = "SELECT email, thread, size, received_ns, blob_id, overlay, part_index FROM email WHERE account = ? AND email "
	barelyQuery = "SELECT email, thread, size, received_ns, blob_id, overlay, '' FROM email WHERE account = ? AND email "
)

func readEmails(tx *sqlitedb.ReadTx, account mailbox.AccountID, ids []mailbox.EmailID, withPartIndex bool, have map[mailbox.EmailID]index.Email) error {
	query := emailsQuery
	if !withPartIndex {
		query = barelyQuery
	}
	places, which := 1, "= ?" // one message being opened is the common case
	if len(ids) > 1 {
		places, which = emailsBatch, "IN "+places64
	}
	args := make([]any, 1, 1+emailsBatch)
	args[0] = int64(account)
	for i := range places {
		args = append(args, int64(ids[min(i, len(ids)-1)]))
	}
	rows, err := tx.Query(query+which, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scanEmail(rows)
		if err != nil {
			return err
		}
		have[e.ID] = e
	}
	return rows.Err()
}

func scanEmail(row unit.Scanner) (e index.Email, err error) {
	var received int64
	var id, overlay []byte
	if err = row.Scan(&e.ID, &e.Thread, &e.Size, &received, &id, &overlay, &e.PartIndex); err != nil {
		return e, err
	}
	e.Received = time.Unix(0, received)
	if e.Blob, err = blob.IDFrom(id); err != nil {
		return e, fmt.Errorf("email %d: %w", e.ID, err)
	}
	if len(overlay) > 0 {
		e.Overlay = &mailv1.Overlay{}
		if err := proto.Unmarshal(overlay, e.Overlay); err != nil {
			return e, fmt.Errorf("email %d: decode overlay: %w", e.ID, err)
		}
	}
	return e, nil
}

// SetPartIndex is index.Mailboxes'.
func (m *Mailboxes) SetPartIndex(ctx context.Context, account mailbox.AccountID, id mailbox.EmailID, partIndex []byte) error {
	_, err := write(ctx, m.d, func(_ *unit.Unit, r *rows) (struct{}, error) {
		return struct{}{}, r.exec("UPDATE email SET part_index_version = ?, part_index = ? WHERE account = ? AND email = ?",
			unit.IndexVersion(partIndex), unit.NotNil(partIndex), int64(account), int64(id))
	})
	if err != nil {
		return fmt.Errorf("set part index of email %d: %w", id, err)
	}
	return nil
}
