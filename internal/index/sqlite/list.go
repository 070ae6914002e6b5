package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// List is index.Mailboxes'.
func (m *Mailboxes) List(ctx context.Context, id mailbox.AccountID) ([]index.Mailbox, mailbox.ModSeq, error) {
	list, seq, err := m.list(ctx, id)
	if errors.Is(err, sql.ErrNoRows) {
		_, err = write(ctx, m.d, func(u *unit.Unit, _ *rows) (struct{}, error) {
			_, err := u.Account(id)
			return struct{}{}, err
		})
		if err == nil {
			list, seq, err = m.list(ctx, id)
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("list mailboxes of account %d: %w", id, err)
	}
	return list, seq, nil
}

func (m *Mailboxes) list(ctx context.Context, id mailbox.AccountID) (list []index.Mailbox, seq mailbox.ModSeq, err error) {
	var subscribed []string
	err = m.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		if err := tx.QueryRow("SELECT mod_seq FROM account WHERE account = ?", int64(id)).Scan(&seq); err != nil {
			return err
		}
		rows, err := tx.Query("SELECT "+unit.BoxColumns+" FROM mailbox WHERE account = ?", int64(id))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var m index.Mailbox
			if err := unit.ScanBox(rows, &m); err != nil {
				return err
			}
			list = append(list, m)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		subscribed, err = readStrings(tx, "SELECT name FROM subscription WHERE account = ?", int64(id))
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return unit.WithNames(list, subscribed), seq, nil
}

func readStrings(tx *sqlitedb.ReadTx, query string, args ...any) (list []string, err error) {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

// countersBatch is how many accounts one query asks for.
const countersBatch = 64

// Counters is index.Mailboxes'.
func (m *Mailboxes) Counters(ctx context.Context, accounts []mailbox.AccountID) ([]mailbox.ModSeq, error) {
	seqs := make([]mailbox.ModSeq, len(accounts))
	have := make(map[mailbox.AccountID]mailbox.ModSeq, len(accounts))
	err := m.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		for part := range slices.Chunk(accounts, countersBatch) {
			args := make([]any, countersBatch)
			for i := range args {
				args[i] = int64(part[min(i, len(part)-1)])
			}
			if err := readCounters(tx, args, have); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	for i, a := range accounts {
		seqs[i] = have[a]
	}
	return seqs, nil
}

func readCounters(tx *sqlitedb.ReadTx, args []any, have map[mailbox.AccountID]mailbox.ModSeq) error {
	rows, err := tx.Query("SELECT account, mod_seq FROM account WHERE account IN "+places64, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var a mailbox.AccountID
		var seq mailbox.ModSeq
		if err := rows.Scan(&a, &seq); err != nil {
			return err
		}
		have[a] = seq
	}
	return rows.Err()
}

// places64 is a list of 64 placeholders: the texts of queries do not depend on how many things are asked for.
const places64 = "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
