// Package annotation is index.Annotations over whatever database the rows are in. Its queries are of the subset of SQL that
// the databases share.
package annotation

import (
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	read = `SELECT reader, name, value FROM annotation WHERE account = $1 AND mailbox = $2 AND reader IN (0, $3) ORDER BY reader, name`
	put  = `INSERT INTO annotation (account, mailbox, reader, name, octets, value) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (account, mailbox, reader, name) DO UPDATE SET octets = excluded.octets, value = excluded.value`
	putNew = `INSERT INTO annotation (account, mailbox, reader, name, octets, value) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (account, mailbox, reader, name) DO NOTHING`
	remove = `DELETE FROM annotation WHERE account = $1 AND mailbox = $2 AND reader = $3 AND name = $4`
	count  = `SELECT COUNT(*), COALESCE(SUM(octets), 0) FROM annotation WHERE account = $1 AND reader = $2`
	// dropKept makes room: what is kept of mailboxes that are gone comes after what is there.
	dropKept = `DELETE FROM annotation WHERE account = $1 AND reader = $2 AND mailbox <> 0
		AND NOT EXISTS (SELECT 1 FROM mailbox m WHERE m.account = annotation.account AND m.mailbox = annotation.mailbox)`
	// Move gives the entries of mailbox $2 of account $1, which is gone, to mailbox $3.
	Move = `UPDATE annotation SET mailbox = $3 WHERE account = $1 AND mailbox = $2`
	// Copy gives mailbox $3 what mailbox $2 of account $1 has, as far as its readers have room for so much again.
	Copy = `INSERT INTO annotation (account, mailbox, reader, name, octets, value)
		SELECT a.account, CAST($3 AS BIGINT), a.reader, a.name, a.octets, a.value FROM annotation a JOIN (
			SELECT reader FROM annotation WHERE account = $1 GROUP BY reader
			HAVING CAST(COUNT(*) + SUM(CASE WHEN mailbox = $2 THEN 1 ELSE 0 END) AS BIGINT) <= $4
			AND CAST(SUM(octets) + SUM(CASE WHEN mailbox = $2 THEN octets ELSE 0 END) AS BIGINT) <= $5
		) room ON room.reader = a.reader WHERE a.account = $1 AND a.mailbox = $2`
)

// CopyArgs are the arguments of Copy.
func CopyArgs(account mailbox.AccountID, from, to mailbox.ID) []any {
	return []any{int64(account), int64(from), int64(to), int64(index.MaxAnnotations), int64(index.MaxAnnotationOctets)}
}

// Store is index.Annotations.
type Store struct{ db kept.DB }

var _ index.Annotations = (*Store)(nil)

// New gives the annotations of a database.
func New(db kept.DB) *Store { return &Store{db} }

// Annotations is index.Annotations'.
func (s *Store) Annotations(ctx context.Context, account mailbox.AccountID, boxes []mailbox.ID, reader mailbox.AccountID) (list []index.Annotation, err error) {
	err = s.db.ReadSQL(ctx, func(tx kept.SQL) error {
		list = nil
		for _, box := range boxes {
			err := tx.Each(read, func(row unit.Scanner) error {
				a := index.Annotation{Mailbox: box}
				var whose int64
				err := row.Scan(&whose, &a.Name, &a.Value)
				a.Reader, a.Value = mailbox.AccountID(whose), unit.NotNil(a.Value)
				list = append(list, a)
				return err
			}, int64(account), int64(box), int64(reader))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read annotations: %w", err)
	}
	return list, nil
}

// SetAnnotations is index.Annotations'.
func (s *Store) SetAnnotations(ctx context.Context, account mailbox.AccountID, box mailbox.ID, entries []index.Annotation) error {
	err := s.db.WriteAccount(ctx, account, func(u *unit.Unit, tx kept.SQL) error {
		// A new account's folders are written before entries refer to them.
		if err := u.Flush(); err != nil {
			return err
		}
		if err := u.Noted(account, box); err != nil {
			return err
		}
		grown := map[mailbox.AccountID]bool{}
		for _, e := range entries {
			var err error
			if e.Value == nil {
				_, err = tx.Exec(remove, int64(account), int64(box), int64(e.Reader), e.Name)
			} else {
				grown[e.Reader] = true
				query := put
				if e.IfAbsent {
					query = putNew
				}
				_, err = tx.Exec(query, int64(account), int64(box), int64(e.Reader), e.Name, int64(len(e.Value)), e.Value)
			}
			if err != nil {
				return err
			}
		}
		for reader := range grown {
			if err := bounded(tx, account, reader); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write annotations: %w", err)
	}
	return nil
}

// bounded tells, by no error, that what was written is not too much.
func bounded(tx kept.SQL, account, reader mailbox.AccountID) error {
	full, err := isFull(tx, account, reader)
	if err != nil || !full {
		return err
	}
	if _, err := tx.Exec(dropKept, int64(account), int64(reader)); err != nil {
		return err
	}
	if full, err = isFull(tx, account, reader); err == nil && full {
		err = index.ErrAnnotations
	}
	return err
}

func isFull(tx kept.SQL, account, reader mailbox.AccountID) (full bool, err error) {
	err = tx.Each(count, func(row unit.Scanner) error {
		var entries, octets int64
		err := row.Scan(&entries, &octets)
		full = entries > index.MaxAnnotations || octets > index.MaxAnnotationOctets
		return err
	}, int64(account), int64(reader))
	return full, err
}
