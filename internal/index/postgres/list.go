package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

// List is index.Mailboxes'.
func (m *Mailboxes) List(ctx context.Context, id mailbox.AccountID) ([]index.Mailbox, mailbox.ModSeq, error) {
	list, seq, err := m.list(ctx, id)
	if errors.Is(err, index.ErrNoAccount) && id != 0 && id < 1<<63 {
		if err = m.d.makeAccounts(ctx, one(id)); err == nil {
			list, seq, err = m.list(ctx, id)
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list mailboxes of account %d: %w", id, full(err))
	}
	return list, seq, nil
}

func (m *Mailboxes) list(ctx context.Context, id mailbox.AccountID) (list []index.Mailbox, seq mailbox.ModSeq, err error) {
	var subscribed []string
	err = m.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		b := &pgx.Batch{}
		b.Queue("SELECT mod_seq FROM account WHERE account = $1", int64(id)).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&seq)
			if errors.Is(err, pgdb.ErrNoRows) {
				return index.ErrNoAccount
			}
			return err
		})
		b.Queue("SELECT "+unit.BoxColumns+" FROM mailbox WHERE account = $1", int64(id)).Query(func(rows pgx.Rows) error {
			return eachRow(rows, nil, func() error {
				var m index.Mailbox
				err := unit.ScanBox(rows, &m)
				list = append(list, m)
				return err
			})
		})
		b.Queue("SELECT name FROM subscription WHERE account = $1", int64(id)).Query(func(rows pgx.Rows) (err error) {
			subscribed, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		return tx.Run(b)
	})
	if err != nil {
		return nil, 0, err
	}
	return unit.WithNames(list, subscribed), seq, nil
}

const readCounters = `SELECT account, mod_seq FROM account WHERE account = ANY($1::bigint[])`

// Counters is index.Mailboxes'.
func (m *Mailboxes) Counters(ctx context.Context, accounts []mailbox.AccountID) ([]mailbox.ModSeq, error) {
	have := make(map[mailbox.AccountID]mailbox.ModSeq, len(accounts))
	err := m.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		rows, err := tx.Query(readCounters, int64s(accounts))
		return eachRow(rows, err, func() error {
			var a mailbox.AccountID
			var seq mailbox.ModSeq
			err := rows.Scan(&a, &seq)
			have[a] = seq
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	seqs := make([]mailbox.ModSeq, len(accounts))
	for i, a := range accounts {
		seqs[i] = have[a]
	}
	return seqs, nil
}
