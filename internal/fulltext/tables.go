package fulltext

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// SQL is a transaction. Parameters of queries are $1, $2 and so on.
type SQL interface {
	// Each calls scan for the rows of a query, one after the other; a scan must not use the transaction.
	Each(query string, scan func(Scanner) error, args ...any) error
	// Exec runs a statement and tells how many rows it changed. ExecMany does so for many lists of arguments.
	Exec(query string, args ...any) (int64, error)
	ExecMany(query string, args [][]any) (int64, error)
}

// Scanner is a row.
type Scanner interface{ Scan(dest ...any) error }

// DB is a database with the tables of the index; fulltext/sqlite and fulltext/postgres are.
type DB interface {
	// ReadSQL runs fn in one snapshot.
	ReadSQL(ctx context.Context, fn func(SQL) error) error
	// WriteSQL runs fn in a transaction, perhaps more than once.
	WriteSQL(ctx context.Context, fn func(SQL) error) error
}

// ErrChanged is a segment that another process has merged or removed meanwhile.
var ErrChanged = errors.New("index was changed by another process")

// State is how far an account is indexed.
type State struct {
	Account mailbox.AccountID
	// Version is of the program that indexed it; see Version.
	Version int
	// ModSeq is the account's, of which all emails were indexed that had come by then, but for a few that other processes
	// were about to file.
	ModSeq mailbox.ModSeq
	// Newest is the highest email then.
	Newest mailbox.EmailID
	// Compared is when all emails of the account were last compared with those of the index.
	Compared time.Time
}

const stateColumns = "account, version, mod_seq, newest, compared_ns"

func scanState(row Scanner, s *State) error {
	var account, modSeq, newest, compared int64
	if err := row.Scan(&account, &s.Version, &modSeq, &newest, &compared); err != nil {
		return err
	}
	s.Account, s.ModSeq, s.Newest, s.Compared = mailbox.AccountID(account), mailbox.ModSeq(modSeq), mailbox.EmailID(newest), time.Unix(0, compared)
	return nil
}

const putState = `INSERT INTO fulltext_account (account, version, mod_seq, newest, compared_ns) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (account) DO UPDATE SET version = excluded.version, mod_seq = excluded.mod_seq, newest = excluded.newest, compared_ns = excluded.compared_ns`

// head is a segment's row without what is read once and kept.
type head struct {
	id      SegmentID
	changed int64
	seg     Segment
}

func readHeads(tx SQL, account mailbox.AccountID) (heads []head, err error) {
	err = tx.Each("SELECT segment, changed, version, bits, octets FROM fulltext_segment WHERE account = $1", func(row Scanner) error {
		var h head
		err := row.Scan(&h.id, &h.changed, &h.seg.Version, &h.seg.Bits, &h.seg.Octets)
		h.seg.ID = h.id
		heads = append(heads, h)
		return err
	}, int64(account))
	return heads, err
}

// readEmails fills in what is in a segment.
func readEmails(tx SQL, account mailbox.AccountID, s *Segment) error {
	return tx.Each("SELECT docs, emails, always, dead FROM fulltext_segment WHERE account = $1 AND segment = $2", func(row Scanner) error {
		var n int
		var emails []byte
		if err := row.Scan(&n, &emails, &s.Always, &s.Dead); err != nil {
			return err
		}
		if n < 0 || n > SegmentDocs || s.Bits < 0 || s.Bits > sliceBitsMax {
			return fmt.Errorf("segment %d: %d emails, %d bits", s.ID, n, s.Bits)
		}
		var err error
		s.Emails, err = mailbox.DecodeEmails(nil, emails, n)
		return err
	}, int64(account), int64(s.ID))
}

const (
	putSegment = `INSERT INTO fulltext_segment (account, segment, version, bits, octets, docs, live, changed, emails, always, dead)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9, $10)`
	putLists = "INSERT INTO fulltext_lists (account, place, data) VALUES ($1, $2, $3)"
	putDead  = "UPDATE fulltext_segment SET dead = $1, live = $2, changed = changed + 1 WHERE account = $3 AND segment = $4 AND changed = $5"
)

// writeSegment adds a segment.
func writeSegment(tx SQL, account mailbox.AccountID, s *Segment) error {
	if _, err := tx.Exec(putSegment, int64(account), int64(s.ID), int64(s.Version), int64(s.Bits), s.Octets, int64(len(s.Emails)), int64(s.Live()),
		mailbox.AppendEmails([]byte{}, s.Emails), notNil(s.Always), notNil(s.Dead)); err != nil {
		return err
	}
	var rows [][]any
	for i, data := range s.Slices {
		if len(data) > 0 {
			rows = append(rows, []any{int64(account), int64(s.ID.place(i)), data})
		}
	}
	_, err := tx.ExecMany(putLists, rows)
	return err
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// removeSegment takes one away as it was read.
func removeSegment(tx SQL, account mailbox.AccountID, h *head) error {
	n, err := tx.Exec("DELETE FROM fulltext_segment WHERE account = $1 AND segment = $2 AND changed = $3", int64(account), int64(h.id), h.changed)
	if err == nil && n != 1 {
		err = ErrChanged
	}
	if err == nil {
		_, err = tx.Exec("DELETE FROM fulltext_lists WHERE account = $1 AND place >= $2 AND place < $3", int64(account), int64(h.id.place(0)), int64((h.id + 1).place(0)))
	}
	return err
}

// listsAt is how many rows one query asks for.
const listsAt = 64

var listsQuery = func() string {
	var b strings.Builder
	b.WriteString("SELECT place, data FROM fulltext_lists WHERE account = $1 AND place IN ($2")
	for i := range listsAt - 1 {
		fmt.Fprintf(&b, ", $%d", i+3)
	}
	return b.String() + ")"
}()

// readLists calls each with the rows at places, in any order; a row that is not there has nothing.
func readLists(tx SQL, account mailbox.AccountID, places []Place, each func(Place, []byte) error) error {
	args := make([]any, 1+listsAt)
	args[0] = int64(account)
	for len(places) > 0 {
		n := min(len(places), listsAt)
		for i := range listsAt {
			args[1+i] = int64(places[min(i, n-1)])
		}
		err := tx.Each(listsQuery, func(row Scanner) error {
			var place int64
			var data []byte
			if err := row.Scan(&place, &data); err != nil {
				return err
			}
			return each(Place(place), data)
		}, args...)
		if err != nil {
			return err
		}
		places = places[n:]
	}
	return nil
}
