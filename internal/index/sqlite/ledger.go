package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Ledger is the ledger in SQLite.
type Ledger struct {
	db  *sqlitedb.DB
	now func() time.Time
}

var _ ledger.Ledger = (*Ledger)(nil)

// Ledger is the ledger's side of the file.
func (d *DB) Ledger() *Ledger { return &Ledger{db: d.db, now: d.opts.Now} }

// write runs a write. ledger.ErrFull where the disk is.
func (l *Ledger) write(ctx context.Context, fn func(*sqlitedb.Tx) error) error {
	err := l.db.Write(ctx, func(tx *sqlitedb.Tx) error {
		tx.Tell(&changes{})
		return fn(tx)
	})
	if errors.Is(err, sqlitedb.ErrFull) {
		return fmt.Errorf("%w: %w", ledger.ErrFull, err)
	}
	return err
}

// clock is the database's clock, nanoseconds since 1970 UTC.
func (l *Ledger) clock() int64 { return l.now().UnixNano() }

// neverDue is the due time of a row that waits for people.
const neverDue = math.MaxInt64

// querier is what a write and a snapshot share.
type querier interface {
	Query(query string, args ...any) (*sql.Rows, error)
	QueryRow(query string, args ...any) sqlitedb.Row
}

// Ids are looked up by lists of few different lengths, so that there are few statements to prepare.
const (
	fewIDs  = 8
	manyIDs = 64
)

var (
	oneMark   = "(?)"
	fewMarks  = "(" + strings.Repeat("?,", fewIDs-1) + "?)"
	manyMarks = "(" + strings.Repeat("?,", manyIDs-1) + "?)"
)

// eachList calls f with the placeholders of a list and its values, at most manyIDs at a time; the last id fills a list up.
func eachList(ids [][]byte, f func(marks string, args []any) error) error {
	var buf [manyIDs]any
	for len(ids) > 0 {
		marks, size := oneMark, 1
		switch {
		case len(ids) > fewIDs:
			marks, size = manyMarks, manyIDs
		case len(ids) > 1:
			marks, size = fewMarks, fewIDs
		}
		n := min(size, len(ids))
		for i := range size {
			buf[i] = ids[min(i, n-1)]
		}
		if err := f(marks, buf[:size]); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// eachRow calls scan for each row and closes them.
func eachRow(rows *sql.Rows, err error, scan func() error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// checkIDs refuses ids that are none.
func checkIDs(ids [][]byte) error {
	for _, id := range ids {
		if len(id) != 16 {
			return fmt.Errorf("%w: queue id of %d octets", ledger.ErrInvalid, len(id))
		}
	}
	return nil
}

// recipientColumns are those that scanRecipient reads.
const recipientColumns = `number, forward_path, original, notify, orcpt, detail, state, destination, account, grp,
	generation, attempts, last_reply, relay, due_ns, expiry_ns, changed_ns, delay_notified`

// scanRecipient reads a row that begins with the queue id and goes on with recipientColumns.
func scanRecipient(rows *sql.Rows, queueID *sql.RawBytes) (*storev1.RecipientRow, error) {
	r := &storev1.RecipientRow{}
	var account int64
	var due sql.NullInt64
	err := rows.Scan(queueID, &r.Number, &r.ForwardPath, &r.Original, &r.Notify, &r.Orcpt, &r.Detail, &r.State, &r.Destination,
		&account, &r.Group, &r.Generation, &r.Attempts, &r.LastReply, &r.Relay, &due, &r.ExpiryNs, &r.ChangedNs, &r.DelayNotified)
	if err != nil {
		return nil, fmt.Errorf("scan recipient: %w", err)
	}
	r.Account = uint64(account)
	if due.Int64 != neverDue {
		r.DueNs = due.Int64
	}
	return r, nil
}

// encodeMessage is what a payload row holds: what is in columns of its own, and what the frame's tail tells, is left out.
func encodeMessage(m *mailv1.Accepted) ([]byte, error) {
	return proto.Marshal(&mailv1.Accepted{Envelope: m.Envelope, Verdict: m.Verdict, Overlay: m.Overlay})
}

func decodeMessage(queueID, blobID, data []byte) (*mailv1.Accepted, error) {
	m := &mailv1.Accepted{}
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("decode message %x: %w", queueID, err)
	}
	m.QueueId, m.BlobId = queueID, blobID
	return m, nil
}

// cut shortens a reply to what the ledger keeps.
func cut(reply string) string {
	if len(reply) <= ledger.ReplyMax {
		return reply
	}
	return strings.ToValidUTF8(reply[:ledger.ReplyMax], "")
}
