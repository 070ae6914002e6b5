package sqlite

import (
	"context"
	"database/sql/driver"
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

// Emails is index.Mailboxes'.
func (m *Mailboxes) Emails(ctx context.Context, account mailbox.AccountID, ids []mailbox.EmailID, withPartIndex bool) ([]index.Email, error) {
	r := emailsReader{account: account, ids: ids, columns: emailColumns}
	if !withPartIndex {
		r.columns = barelyColumns
	}
	ascending := slices.IsSortedFunc(ids, func(a, b mailbox.EmailID) int {
		if a <= b { // as one id twice in a row is in no order either
			return -1
		}
		return 1
	})
	if !ascending {
		r.ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	}
	r.found = make([]index.Email, len(r.ids))
	err := m.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		r.tx = tx
		return r.read()
	})
	if err != nil {
		return nil, fmt.Errorf("read emails of account %d: %w", account, err)
	}
	if ascending {
		return slices.DeleteFunc(r.found, func(e index.Email) bool { return e.ID == 0 }), nil
	}
	emails := make([]index.Email, 0, len(ids))
	for _, id := range ids {
		if i, _ := slices.BinarySearch(r.ids, id); r.found[i].ID != 0 {
			emails = append(emails, r.found[i])
		}
	}
	return emails, nil
}

const (
	emailColumns  = "SELECT email, account, thread, size, received_ns, blob_id, overlay, part_index FROM email WHERE email "
	barelyColumns = "SELECT email, account, thread, size, received_ns, blob_id, overlay, NULL FROM email WHERE email "

	emailAlone  = "= ?"
	emailsAmong = "IN " + places64
	// Whoever else's emails lie between are passed over. SQLite would prepare a query anew for each value of a bare LIMIT ?.
	emailsRange = "BETWEEN ? AND ? ORDER BY email LIMIT 0 + ?"
)

const (
	// amongMax is how many emails are asked for by their ids at once.
	amongMax = 64
	// rangeFirst and rangeMax are how many rows of a range are read at once, at first and at most.
	rangeFirst, rangeMax = 16, 256
)

// emailsReader reads emails of one account.
//
// Emails that came one after another are neighbours in the table, unless much else came between them, and to go from row to row
// costs a third of finding each by its id. So it reads ranges as long as most of what lies there is wanted.
type emailsReader struct {
	tx      *sqlitedb.ReadTx
	account mailbox.AccountID
	columns string
	ids     []mailbox.EmailID // ascending, each once
	found   []index.Email     // of each; zero where there is none
	done    int               // how many of ids were looked for
	hits    int               // how many of them are there
	args    [amongMax]any
}

func (r *emailsReader) read() error {
	rows, dense := rangeFirst, true
	for r.done < len(r.ids) {
		var err error
		switch left := len(r.ids) - r.done; {
		case left == 1:
			err = r.alone()
		case dense && left >= rangeFirst/2:
			rows = min(rows, 2*left)
			dense, err = r.rangeOf(rows)
			rows = min(4*rows, rangeMax)
		default:
			err = r.among()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// alone reads the next email, as whoever opens one message does.
func (r *emailsReader) alone() error {
	r.args[0] = int64(r.ids[r.done])
	if err := r.tx.Lookup(r.columns+emailAlone, r.args[:1], r.take); err != nil {
		return err
	}
	r.done++
	return nil
}

// among reads the next emails by their ids.
func (r *emailsReader) among() error {
	n := min(amongMax, len(r.ids)-r.done)
	for i := range r.args {
		r.args[i] = int64(r.ids[r.done+min(i, n-1)])
	}
	end := r.done + n
	if err := r.tx.Lookup(r.columns+emailsAmong, r.args[:], r.take); err != nil {
		return err
	}
	r.done = end
	return nil
}

// rangeOf reads the rows from the next email on, up to limit, and tells whether at least half of them were wanted.
func (r *emailsReader) rangeOf(limit int) (dense bool, err error) {
	end := min(r.done+limit, len(r.ids))
	r.args[0], r.args[1], r.args[2] = int64(r.ids[r.done]), int64(r.ids[end-1]), int64(limit)
	rows, had := 0, r.hits
	err = r.tx.Lookup(r.columns+emailsRange, r.args[:3], func(row []driver.Value) error {
		rows++
		return r.take(row)
	})
	if err != nil {
		return false, err
	}
	if rows < limit {
		r.done = end // There are no more.
	}
	return 2*(r.hits-had) >= rows, nil
}

// take takes the next row, of an email that is wanted or not; those that are wanted and come before it are not there.
func (r *emailsReader) take(row []driver.Value) error {
	id, err := scanID(row[0])
	if err != nil {
		return err
	}
	for r.done < len(r.ids) && r.ids[r.done] < id {
		r.done++
	}
	if r.done == len(r.ids) || r.ids[r.done] != id {
		return nil
	}
	if row[1] == driver.Value(int64(r.account)) {
		if r.found[r.done], err = scanEmail(id, row[2:]); err != nil {
			return fmt.Errorf("email %d: %w", id, err)
		}
		r.hits++
	}
	r.done++
	return nil
}

func scanID(v driver.Value) (mailbox.EmailID, error) {
	id, ok := v.(int64)
	if !ok {
		return 0, fmt.Errorf("id is a %T", v)
	}
	return mailbox.EmailID(id), nil
}

// scanEmail reads what stands behind id and account.
func scanEmail(id mailbox.EmailID, row []driver.Value) (e index.Email, err error) {
	thread, ok1 := row[0].(int64)
	size, ok2 := row[1].(int64)
	received, ok3 := row[2].(int64)
	blobID, ok4 := row[3].([]byte)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return e, fmt.Errorf("a column is of another type: %T, %T, %T, %T", row[0], row[1], row[2], row[3])
	}
	e = index.Email{ID: id, Thread: mailbox.ThreadID(thread), Size: size, Received: time.Unix(0, received)}
	if e.Blob, err = blob.IDFrom(blobID); err != nil {
		return e, err
	}
	if overlay, _ := row[4].([]byte); len(overlay) > 0 {
		e.Overlay = &mailv1.Overlay{}
		if err := proto.Unmarshal(overlay, e.Overlay); err != nil {
			return e, fmt.Errorf("decode overlay: %w", err)
		}
	}
	e.PartIndex, _ = row[5].([]byte)
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
