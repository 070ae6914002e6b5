package postgres

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

const (
	emailsFrom = ` FROM unnest($2::bigint[]) AS k (email) JOIN email e ON e.account = $1 AND e.email = k.email`
	readEmails = `SELECT e.email, e.thread, e.size, e.received_ns, e.blob_id, e.overlay, e.part_index` + emailsFrom
	readBarely = `SELECT e.email, e.thread, e.size, e.received_ns, e.blob_id, e.overlay, ''::bytea` + emailsFrom
)

// Emails is index.Mailboxes'.
func (m *Mailboxes) Emails(ctx context.Context, account mailbox.AccountID, ids []mailbox.EmailID, withPartIndex bool) ([]index.Email, error) {
	query := readEmails
	if !withPartIndex {
		query = readBarely
	}
	have := make(map[mailbox.EmailID]index.Email, len(ids))
	err := m.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		rows, err := tx.Query(query, int64(account), int64s(ids))
		return eachRow(rows, err, func() error {
			e, err := scanEmail(rows)
			have[e.ID] = e
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read emails of account %d: %w", account, err)
	}
	emails := make([]index.Email, 0, len(ids))
	for _, id := range ids {
		if e, ok := have[id]; ok {
			emails = append(emails, e)
		}
	}
	return emails, nil
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
	err := m.d.db.Write(ctx, func(tx *pgdb.Tx) error {
		_, err := tx.Exec("UPDATE email SET part_index_version = $3, part_index = $4 WHERE account = $1 AND email = $2",
			int64(account), int64(id), unit.IndexVersion(partIndex), unit.NotNil(partIndex))
		return err
	})
	if err != nil {
		return fmt.Errorf("set part index of email %d: %w", id, full(err))
	}
	return nil
}
