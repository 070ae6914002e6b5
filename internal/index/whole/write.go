package whole

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Errors that callers branch on.
var (
	// ErrUnknown is a table or column that this version does not have, or a value of another kind.
	ErrUnknown = errors.New("unknown to this version")
	// ErrTaken is an email id that another account has.
	ErrTaken = errors.New("id belongs to another account")
)

// Email is one to be put back.
type Email struct {
	ID     mailbox.EmailID
	Thread mailbox.ThreadID
	index.Message
}

// Presence is what there is of an account.
type Presence uint8

// What there may be.
const (
	// Absent: nothing was ever written to it, or not yet the row that comes behind its mailboxes.
	Absent Presence = iota
	// PutBack: its row is of an older timeline, as PutRows writes it; nothing was written since.
	PutBack
	// Lives: somebody wrote to it.
	Lives
	// Gone: it was dropped, or is about to be. Its id is never used again.
	Gone
)

// Presence tells what there is of an account.
func (s *Store) Presence(ctx context.Context, account mailbox.AccountID) (p Presence, err error) {
	err = s.db.ReadSQL(ctx, func(tx kept.SQL) error {
		p = Absent
		now := int64(0)
		err := tx.Each("SELECT MAX(timeline) FROM timeline", func(row unit.Scanner) error { return row.Scan(&now) })
		if err != nil {
			return err
		}
		err = tx.Each("SELECT timeline FROM account WHERE account = $1", func(row unit.Scanner) error {
			var timeline int64
			err := row.Scan(&timeline)
			switch {
			case timeline < 0:
				p = Gone
			case timeline < now:
				p = PutBack
			default:
				p = Lives
			}
			return err
		}, int64(account))
		if err != nil {
			return err
		}
		return tx.Each("SELECT forgotten FROM dropping WHERE account = $1", func(row unit.Scanner) error {
			var state int64
			p = Gone
			return row.Scan(&state)
		}, int64(account))
	})
	return p, wrap("look for account", account, err)
}

// Missing tells which of emails have no row.
func (s *Store) Missing(ctx context.Context, account mailbox.AccountID, emails []mailbox.EmailID) (list []mailbox.EmailID, err error) {
	err = s.db.ReadSQL(ctx, func(tx kept.SQL) error {
		have, err := kept.HaveEmails(tx, account, emails)
		list = list[:0]
		for _, e := range emails {
			if !have[e] {
				list = append(list, e)
			}
		}
		return err
	})
	return list, wrap("look for emails of account", account, err)
}

const putEmail = `INSERT INTO email (email, account, thread, size, received_ns, blob_id, overlay, part_index_version, part_index)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`

// PutEmails puts emails back, all or nothing; those that are there stay. Their frames are durable already.
// index.ErrCondemned: a body is about to go. ErrTaken.
func (s *Store) PutEmails(ctx context.Context, account mailbox.AccountID, emails []Email) error {
	err := s.db.WriteSQL(ctx, func(tx kept.SQL) error {
		for i := range emails {
			e := &emails[i]
			condemned := false
			err := tx.Each("SELECT 1 FROM condemned WHERE blob_id = $1", func(row unit.Scanner) error {
				var one int64
				condemned = true
				return row.Scan(&one)
			}, e.Blob.Bytes())
			if err == nil && condemned {
				err = index.ErrCondemned
			}
			if err != nil {
				return fmt.Errorf("email %d: %w", e.ID, err)
			}
			overlay := []byte{}
			if e.Overlay != nil {
				if overlay, err = proto.Marshal(e.Overlay); err != nil {
					return fmt.Errorf("email %d: encode overlay: %w", e.ID, err)
				}
			}
			_, err = tx.Exec(putEmail, int64(e.ID), int64(account), int64(e.Thread), e.Size, e.Received.UnixNano(), e.Blob.Bytes(),
				unit.NotNil(overlay), unit.IndexVersion(e.PartIndex), unit.NotNil(e.PartIndex))
			if err != nil {
				return fmt.Errorf("email %d: %w", e.ID, err)
			}
		}
		ids := make([]mailbox.EmailID, len(emails))
		for i := range emails {
			ids[i] = emails[i].ID
		}
		have, err := kept.HaveEmails(tx, account, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if !have[id] {
				return fmt.Errorf("email %d: %w", id, ErrTaken)
			}
		}
		return nil
	})
	return wrap("put back emails of account", account, err)
}

// PutRows puts rows back whose values stand in the order of names. What is there stays; columns that are not named get nothing
// of note, and what this version does not know is left out. An account's row is of the timeline before the present one, so
// that it jumps before anything new is written to it.
func (s *Store) PutRows(ctx context.Context, account mailbox.AccountID, table string, names []string, rows [][]any) error {
	t := Find(table)
	if t == nil || t.Name == Emails {
		return fmt.Errorf("table %q: %w", table, ErrUnknown)
	}
	if t.farm && account != 0 {
		return fmt.Errorf("table %q of account %d: %w: its rows belong to no account", table, account, ErrUnknown)
	}
	args := make([][]any, len(rows))
	for i, r := range rows {
		var err error
		if args[i], err = t.row(account, names, r); err != nil {
			return fmt.Errorf("put back %s of account %d: %w", table, account, err)
		}
		if t.farm {
			args[i] = args[i][1:]
		}
	}
	err := s.db.WriteSQL(ctx, func(tx kept.SQL) error {
		if _, err := tx.ExecMany(t.insert(), args); err != nil {
			return err
		}
		if table != "acl" {
			return nil
		}
		hints := make([][]any, len(args))
		for i, a := range args {
			hints[i] = []any{a[1+t.At("identifier")], int64(account)}
		}
		_, err := tx.ExecMany("INSERT INTO share (identifier, account) VALUES ($1, $2) ON CONFLICT DO NOTHING", hints)
		return err
	})
	return wrap("put back "+table+" of account", account, err)
}

// insert is the statement that row's values are for.
func (t *Table) insert() string {
	names := append([]string{"account"}, t.Names()...)
	if t.farm {
		names = names[1:]
	}
	marks := make([]string, len(names))
	for i := range marks {
		marks[i] = fmt.Sprintf("$%d", i+1)
	}
	into := "INSERT INTO " + t.Name + " (" + strings.Join(names, ", ")
	if t.Name == Accounts {
		return into + ", timeline) SELECT " + strings.Join(typed(marks), ", ") + ", MAX(timeline) - 1 FROM timeline WHERE true ON CONFLICT DO NOTHING"
	}
	return into + ") VALUES (" + strings.Join(marks, ", ") + ") ON CONFLICT DO NOTHING"
}

// typed are marks where a database cannot tell their types by where they stand.
func typed(marks []string) []string {
	out := make([]string, len(marks))
	for i, m := range marks {
		out[i] = "CAST(" + m + " AS BIGINT)"
	}
	return out
}

// row brings values in the order of the table's columns, behind the account.
func (t *Table) row(account mailbox.AccountID, names []string, values []any) ([]any, error) {
	if len(values) != len(names) {
		return nil, fmt.Errorf("%w: %d values of %d columns", ErrUnknown, len(values), len(names))
	}
	row := make([]any, 1+len(t.Columns))
	row[0] = int64(account)
	for i, c := range t.Columns {
		switch c.Kind {
		case Number:
			row[1+i] = int64(0)
		case Text:
			row[1+i] = ""
		case Octets:
			row[1+i] = []byte{}
		}
	}
	for i, n := range names {
		at := t.At(n)
		if at < 0 {
			continue
		}
		ok := false
		switch v := values[i].(type) {
		case int64:
			ok = t.Columns[at].Kind == Number
			row[1+at] = v
		case string:
			ok = t.Columns[at].Kind == Text
			row[1+at] = plain(v)
		case []byte:
			ok = t.Columns[at].Kind == Octets
			row[1+at] = unit.NotNil(v)
		}
		if !ok {
			return nil, fmt.Errorf("%w: column %s has a %T", ErrUnknown, n, values[i])
		}
	}
	return row, nil
}

// plain is text as every database takes it.
func plain(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}

func wrap(what string, account mailbox.AccountID, err error) error {
	if err != nil {
		return fmt.Errorf("%s %d: %w", what, account, err)
	}
	return nil
}
