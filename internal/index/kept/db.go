// Package kept is index.Retention over whatever database the rows are in: what undelete brings back, for how long it is
// kept, and how it ends. Its queries are of the subset of SQL that the databases share.
package kept

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// SQL is a transaction. Parameters of queries are $1, $2 and so on.
type SQL interface {
	// Each calls scan for the rows of a query, one after the other; a scan must not use the transaction.
	Each(query string, scan func(unit.Scanner) error, args ...any) error
	// Exec runs a statement and tells how many rows it changed.
	Exec(query string, args ...any) (int64, error)
	// EachMany and ExecMany do so for many lists of arguments.
	EachMany(query string, scan func(unit.Scanner) error, args [][]any) error
	ExecMany(query string, args [][]any) (int64, error)
}

// DB is a database.
type DB interface {
	ReadSQL(ctx context.Context, fn func(SQL) error) error
	WriteSQL(ctx context.Context, fn func(SQL) error) error
	// WriteAccount runs fn in a unit, within which nobody else writes to the account. fn may run more than once.
	WriteAccount(ctx context.Context, account mailbox.AccountID, fn func(*unit.Unit, SQL) error) error
	// Clock is the time now.
	Clock() time.Time
}

// Store is index.Retention.
type Store struct{ db DB }

var _ index.Retention = (*Store)(nil)

// New is what is kept in a database.
func New(db DB) *Store { return &Store{db} }

// Numbered is a query as a database takes it whose parameters are ?1, ?2 and so on.
func Numbered(query string) string { return strings.ReplaceAll(query, "$", "?") }

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// at is a time from the database.
func at(ns int64) time.Time { return time.Unix(0, ns) }

// The statements of unit.KeepRows.
const (
	putRemoved = `INSERT INTO removed (account, mailbox, mod_seq, part, kind, removed_ns, name, special_use, uid_next, keywords, entries, octets,
		uids, flags, mod_seqs, emails, sizes, received) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`
	// What is new is looked at once; from then on it is known when anything is due.
	addKept = `INSERT INTO kept (account, entries, octets, next_ns) VALUES ($1, $2, $3, $4)
		ON CONFLICT (account) DO UPDATE SET entries = kept.entries + excluded.entries, octets = kept.octets + excluded.octets`
	putRemovedBox = `INSERT INTO removed_mailbox (account, mailbox, name, special_use, uid_validity, uid_next, highest_mod_seq, keywords,
		subscribed, removed_ns) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, (SELECT COUNT(*) FROM subscription WHERE account = $9 AND name = $10), $11)`
	boxEmails  = `SELECT emails FROM chunk WHERE account = $1 AND mailbox = $2`
	haveEmails = `SELECT email FROM email WHERE account = $1 AND email = $2`
)

// Statement is one that changes rows.
type Statement struct {
	Query string
	Args  []any
}

// PutRemoved is what unit.KeepRows' does, in order.
func PutRemoved(b *unit.Box, r *unit.Removed, now int64) []Statement {
	p, account := &r.Entries, int64(b.Account.ID)
	return []Statement{
		{putRemoved, []any{account, int64(b.ID), int64(r.ModSeq), int64(r.Part), int64(r.Kind), now, b.Name, b.SpecialUse, int64(b.UIDNext),
			unit.JoinKeywords(&b.Mailbox), int64(r.Count), r.Octets, p.UIDs, p.Flags, p.ModSeqs, p.Emails, p.Sizes, p.Received}},
		{addKept, []any{account, int64(r.Count), r.Octets, now}},
	}
}

// PutRemovedBox is what unit.KeepRows' does.
func PutRemovedBox(b *unit.Box, now int64) Statement {
	return Statement{putRemovedBox, []any{int64(b.Account.ID), int64(b.ID), b.Name, b.SpecialUse, int64(b.UIDValidity), int64(b.UIDNext),
		int64(b.HighestModSeq), unit.JoinKeywords(&b.Mailbox), int64(b.Account.ID), b.Name, now}}
}

// BoxEmails is unit.KeepRows'.
func BoxEmails(tx SQL, b *unit.Box, each func([]mailbox.EmailID)) error {
	return eachEmails(tx, each, boxEmails, int64(b.Account.ID), int64(b.ID))
}

// AccountEmails is unit.KeepRows'.
func AccountEmails(tx SQL, account mailbox.AccountID, each func([]mailbox.EmailID)) error {
	return eachEmails(tx, each, seenEmails, int64(account))
}

// HaveEmails is unit.KeepRows'.
func HaveEmails(tx SQL, account mailbox.AccountID, emails []mailbox.EmailID) (map[mailbox.EmailID]bool, error) {
	have := make(map[mailbox.EmailID]bool, len(emails))
	args := make([][]any, len(emails))
	for i, e := range emails {
		args[i] = []any{int64(account), int64(e)}
	}
	err := tx.EachMany(haveEmails, func(row unit.Scanner) error {
		var id int64
		err := row.Scan(&id)
		have[mailbox.EmailID(id)] = true
		return err
	}, args)
	return have, err
}

// eachEmails unpacks a column of emails.
func eachEmails(tx SQL, each func([]mailbox.EmailID), query string, args ...any) error {
	var ids []mailbox.EmailID
	return tx.Each(query, func(row unit.Scanner) error {
		var b []byte
		if err := row.Scan(&b); err != nil {
			return err
		}
		var err error
		if ids, err = mailbox.AllEmails(ids[:0], b); err != nil {
			return err
		}
		each(ids)
		return nil
	}, args...)
}
