package whole

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// Store reads and writes accounts of a database.
type Store struct{ db kept.DB }

// New is the accounts of a database.
func New(db kept.DB) *Store { return &Store{db} }

// State tells whether an account changed.
type State struct {
	Account     mailbox.AccountID
	ModSeq      mailbox.ModSeq
	Fingerprint [sha256.Size]byte
}

// Queued is a recipient of a message in the queue.
type Queued struct {
	ID     envelope.QueueID
	Number uint32
}

// page is how many rows one query reads at most: those of chunks have a few KiB.
const page = 512

// States tells of the accounts behind one, by id, at most limit. A fingerprint changes with whatever is kept: all but flags
// that readers have for themselves and messages that came or went stands in small tables, and those raise the MODSEQ.
func (s *Store) States(ctx context.Context, after mailbox.AccountID, limit int) (list []State, err error) {
	err = s.db.ReadSQL(ctx, func(tx kept.SQL) error {
		list = list[:0]
		err := tx.Each("SELECT account, mod_seq FROM account WHERE account > $1 ORDER BY account LIMIT $2", func(row unit.Scanner) error {
			var account, seq int64
			err := row.Scan(&account, &seq)
			list = append(list, State{Account: mailbox.AccountID(account), ModSeq: mailbox.ModSeq(seq)})
			return err
		}, int64(after), int64(limit))
		if err != nil {
			return err
		}
		for i := range list {
			if err := list[i].fingerprint(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read states of accounts: %w", err)
	}
	return list, nil
}

func (s *State) fingerprint(tx kept.SQL) error {
	h := sha256.New()
	for _, t := range Tables {
		if !t.small {
			continue
		}
		fmt.Fprintln(h, t.Name)
		err := t.read(tx, s.Account, func(row []any) error {
			for _, v := range row {
				fmt.Fprintf(h, "%q ", fmt.Sprint(v))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	h.Sum(s.Fingerprint[:0])
	return nil
}

// Dump hands over all rows of an account, or with 0 what belongs to none, table by table, in one snapshot; int64, string and []byte by the columns' kinds. Of
// what was delivered it tells about queued alone. each must not keep the snapshot waiting.
func (s *Store) Dump(ctx context.Context, account mailbox.AccountID, queued []Queued, each func(*Table, []any) error) error {
	err := s.db.ReadSQL(ctx, func(tx kept.SQL) error { return dump(tx, account, queued, each) })
	if err != nil {
		return fmt.Errorf("read account %d: %w", account, err)
	}
	return nil
}

func dump(tx kept.SQL, account mailbox.AccountID, queued []Queued, each func(*Table, []any) error) error {
	for _, t := range Tables {
		if t.farm && account != 0 {
			continue
		}
		hand := func(row []any) error { return each(t, row) }
		var err error
		if t.Name == delivered {
			err = t.readDelivered(tx, account, queued, hand)
		} else {
			err = t.read(tx, account, hand)
		}
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	return nil
}

// Known is what somebody has of an account.
type Known struct {
	ModSeq mailbox.ModSeq
	Queued []Queued
}

// DumpChanged hands over, as Dump does, all accounts whose MODSEQ is not the known one, in one snapshot: with those that are
// known they are the whole store at one moment, as whatever brings messages into an account, or out of it, raises its MODSEQ.
// begin is called ahead of an account's rows.
func (s *Store) DumpChanged(ctx context.Context, known map[mailbox.AccountID]Known, begin func(State) error, each func(*Table, []any) error) error {
	err := s.db.ReadSQL(ctx, func(tx kept.SQL) error {
		var changed []State
		err := tx.Each("SELECT account, mod_seq FROM account ORDER BY account", func(row unit.Scanner) error {
			var account, seq int64
			err := row.Scan(&account, &seq)
			if k, ok := known[mailbox.AccountID(account)]; !ok || k.ModSeq != mailbox.ModSeq(seq) {
				changed = append(changed, State{Account: mailbox.AccountID(account), ModSeq: mailbox.ModSeq(seq)})
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, st := range changed {
			err := st.fingerprint(tx)
			if err == nil {
				err = begin(st)
			}
			if err == nil {
				err = dump(tx, st.Account, known[st.Account].Queued, each)
			}
			if err != nil {
				return fmt.Errorf("account %d: %w", st.Account, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read accounts that changed: %w", err)
	}
	return nil
}

// read reads an account's rows in the order of their key, a page at a time.
func (t *Table) read(tx kept.SQL, account mailbox.AccountID, each func([]any) error) error {
	list, key := strings.Join(t.Names(), ", "), strings.Join(t.key, ", ")
	marks := make([]string, len(t.key))
	for i := range marks {
		marks[i] = fmt.Sprintf("$%d", i+2)
	}
	whose := "account = $1"
	if t.farm {
		whose = "CAST($1 AS BIGINT) = 0"
	}
	first := fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY %s LIMIT %d", list, t.Name, whose, key, page)
	next := fmt.Sprintf("SELECT %s FROM %s WHERE %s AND (%s) > (%s) ORDER BY %s LIMIT %d", list, t.Name, whose, key, strings.Join(marks, ", "), key, page)
	query, args := first, []any{int64(account)}
	for {
		var rows [][]any
		if err := tx.Each(query, t.scan(&rows), args...); err != nil {
			return err
		}
		for _, r := range rows {
			if err := each(r); err != nil {
				return err
			}
		}
		if len(rows) < page {
			return nil
		}
		last := rows[len(rows)-1]
		query, args = next, args[:1]
		for _, k := range t.key {
			args = append(args, last[t.At(k)])
		}
	}
}

// readDelivered asks by the whole key: the table has no order by account.
func (t *Table) readDelivered(tx kept.SQL, account mailbox.AccountID, queued []Queued, each func([]any) error) error {
	args := make([][]any, len(queued))
	for i, q := range queued {
		args[i] = []any{q.ID[:], int64(q.Number), int64(account)}
	}
	var rows [][]any
	query := "SELECT " + strings.Join(t.Names(), ", ") + " FROM delivered WHERE queue_id = $1 AND number = $2 AND account = $3"
	if err := tx.EachMany(query, t.scan(&rows), args); err != nil {
		return err
	}
	for _, r := range rows {
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

// scan adds rows to list.
func (t *Table) scan(list *[][]any) func(unit.Scanner) error {
	return func(row unit.Scanner) error {
		values, to := make([]any, len(t.Columns)), make([]any, len(t.Columns))
		for i, c := range t.Columns {
			switch c.Kind {
			case Number:
				to[i] = new(int64)
			case Text:
				to[i] = new(string)
			case Octets:
				to[i] = new([]byte)
			}
		}
		if err := row.Scan(to...); err != nil {
			return err
		}
		for i := range to {
			switch v := to[i].(type) {
			case *int64:
				values[i] = *v
			case *string:
				values[i] = *v
			case *[]byte:
				values[i] = unit.NotNil(*v)
			}
		}
		*list = append(*list, values)
		return nil
	}
}
