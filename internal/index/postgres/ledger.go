package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Ledger is the ledger in PostgreSQL.
//
// A batch is one transaction, for its speed. Nothing depends on that: every step that must not be torn apart concerns one
// queue id (one owner in the outbox). Rows are locked in the order of their keys; sweep and outbox wait for no lock at all.
type Ledger struct {
	db    *pgdb.DB
	clock func() pgtype.Int8
}

var _ ledger.Ledger = (*Ledger)(nil)

// Ledger is the ledger's side of the database.
func (d *DB) Ledger() *Ledger { return &Ledger{db: d.db, clock: d.clock} }

// write runs a write. ledger.ErrFull where the disk is.
func (l *Ledger) write(ctx context.Context, fn func(*pgdb.Tx) error) error {
	err := l.db.Write(ctx, fn)
	if errors.Is(err, pgdb.ErrFull) {
		return fmt.Errorf("%w: %w", ledger.ErrFull, err)
	}
	return err
}

// clockNs is the database's clock, nanoseconds since 1970 UTC, in statements whose first argument is clock's.
const clockNs = `coalesce($1::bigint, (extract(epoch FROM statement_timestamp()) * 1000000000)::bigint)`

// clock is what clockNs reads: NULL for the database's own.
func (d *DB) clock() pgtype.Int8 {
	if d.opts.Now == nil {
		return pgtype.Int8{}
	}
	return pgtype.Int8{Int64: d.opts.Now().UnixNano(), Valid: true}
}

// neverDue is the due time of a row that waits for people.
const neverDue = math.MaxInt64

// eachRow calls scan for each row and closes them.
func eachRow(rows pgx.Rows, err error, scan func() error) error {
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
func checkIDs(ids ...[]byte) error {
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
func scanRecipient(rows pgx.Rows) (id [16]byte, r *storev1.RecipientRow, err error) {
	r = &storev1.RecipientRow{}
	var queueID pgtype.DriverBytes
	var account int64
	var due pgtype.Int8
	err = rows.Scan(&queueID, &r.Number, &r.ForwardPath, &r.Original, &r.Notify, &r.Orcpt, &r.Detail, &r.State, &r.Destination,
		&account, &r.Group, &r.Generation, &r.Attempts, &r.LastReply, &r.Relay, &due, &r.ExpiryNs, &r.ChangedNs, &r.DelayNotified)
	if err != nil {
		return id, nil, fmt.Errorf("scan recipient: %w", err)
	}
	r.Account = uint64(account)
	if due.Int64 != neverDue {
		r.DueNs = due.Int64
	}
	return [16]byte(queueID), r, nil
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

// plain is text as the database takes it: without NUL, which peers may well send and which must not hold mail up.
func plain(s string) string {
	if strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(s, "\x00", "\uFFFD")
}

// idAfter is a queue id above all that were made up to a time.
func idAfter(ns int64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(time.Unix(0, ns).UnixMilli()+1)<<16)
	id := make([]byte, 16)
	copy(id, b[:6])
	return id
}

// wrap says what an error came from; nil stays nil.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
