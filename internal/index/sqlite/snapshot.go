package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// Snapshot is index.Mailboxes'.
func (m *Mailboxes) Snapshot(ctx context.Context, q index.SnapshotQuery, each func(*index.Page) error) error {
	err := m.snapshot(ctx, q, each)
	if err != nil {
		return fmt.Errorf("snapshot of mailbox %d: %w", q.Mailbox, err)
	}
	return nil
}

// errRecentBehind is a mark of \Recent that is to be moved before the mailbox is read.
var errRecentBehind = errors.New("the mark of recent messages is behind")

func (m *Mailboxes) snapshot(ctx context.Context, q index.SnapshotQuery, each func(*index.Page) error) error {
	err := m.readSnapshot(ctx, q, nil, each)
	if !errors.Is(err, errRecentBehind) {
		return err
	}
	recent, err := m.takeRecent(ctx, q)
	if err != nil {
		return err
	}
	return m.readSnapshot(ctx, q, &recent, each)
}

// readSnapshot reads; recent is where \Recent begins for who has taken it. errRecentBehind where it is still to be taken.
func (m *Mailboxes) readSnapshot(ctx context.Context, q index.SnapshotQuery, recent *mailbox.UID, each func(*index.Page) error) error {
	if recent == nil { // who has taken \Recent is told where it began, which the row tells no more
		if b, ok := m.d.boxes.box(q.Account, q.Mailbox); ok && b.unchanged(q) {
			return each(&index.Page{Mailbox: &b.Mailbox, Done: true})
		}
	}
	turn := m.d.boxes.now()
	return m.d.db.Read(ctx, func(tx *sqlitedb.ReadTx) error {
		b, err := readBox(tx, q)
		if err != nil {
			return err
		}
		m.d.boxes.keep(turn, q.Account, b)
		mbox, purged := b.Mailbox, b.purged
		switch {
		case recent != nil:
			mbox.RecentUID = *recent
		case q.TakeRecent && mbox.RecentUID < mbox.UIDNext:
			return errRecentBehind
		}
		page := &index.Page{Mailbox: &mbox}
		if q.Since > 0 && (q.Since < purged || q.Since > mbox.HighestModSeq) {
			// The tombstones are gone, or the reader saw a history that we lost.
			page.Complete, q.Since = true, 0
		}
		if q.Since > 0 && q.Since == mbox.HighestModSeq && q.Reader.Account == 0 {
			// Nothing changed, which is what most ask for.
			page.Done = true
			return each(page)
		}
		if known, err := q.Recalled(page, each); known {
			return err
		}
		if q.Since > 0 {
			if page.Expunged, err = readExpunged(tx, q); err != nil {
				return err
			}
		}
		return readChunks(tx, q, page, each)
	})
}

// takeRecent moves the mark behind all entries and tells where it was.
func (m *Mailboxes) takeRecent(ctx context.Context, q index.SnapshotQuery) (mailbox.UID, error) {
	return write(ctx, m.d, func(_ *unit.Unit, r *rows) (mailbox.UID, error) {
		r.changes.of(q.Account)
		var recent mailbox.UID
		err := r.tx.QueryRow("SELECT recent_uid FROM mailbox WHERE account = ? AND mailbox = ?", int64(q.Account), int64(q.Mailbox)).Scan(&recent)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, index.ErrNoMailbox
		} else if err != nil {
			return 0, fmt.Errorf("read recent mark: %w", err)
		}
		if _, err = r.tx.Exec("UPDATE mailbox SET recent_uid = uid_next WHERE account = ? AND mailbox = ?", int64(q.Account), int64(q.Mailbox)); err != nil {
			return 0, fmt.Errorf("move recent mark: %w", err)
		}
		return recent, nil
	})
}

func readBox(tx *sqlitedb.ReadTx, q index.SnapshotQuery) (knownBox, error) {
	b, err := scanFound(tx.QueryRow(findColumns+"mailbox = ?", int64(q.Account), int64(q.Mailbox)))
	if errors.Is(err, sql.ErrNoRows) {
		err = index.ErrNoMailbox
	}
	return b, err
}

func readExpunged(tx *sqlitedb.ReadTx, q index.SnapshotQuery) (mailbox.UIDSet, error) {
	rows, err := tx.Query("SELECT uids FROM tombstone WHERE account = ? AND mailbox = ? AND mod_seq > ? ORDER BY mod_seq",
		int64(q.Account), int64(q.Mailbox), int64(q.Since))
	if err != nil {
		return nil, fmt.Errorf("read tombstones: %w", err)
	}
	defer rows.Close()
	var all mailbox.UIDSet
	for rows.Next() {
		var b sql.RawBytes
		if err := rows.Scan(&b); err != nil {
			return nil, fmt.Errorf("read tombstones: %w", err)
		}
		set, err := mailbox.DecodeUIDSet(b)
		if err != nil {
			return nil, fmt.Errorf("read tombstones: %w", err)
		}
		all = append(all, set...)
	}
	return mailbox.NewUIDSet(all...), rows.Err()
}

// The plus signs keep the order from deciding by which index the rows of chunksSince are found, and the MODSEQ from
// deciding it for those of wholeChunks.
const (
	wholeChunks = "SELECT " + chunkColumns + " FROM chunk WHERE account = ? AND mailbox = ? AND +max_mod_seq > ? ORDER BY first_uid"
	chunksSince = "SELECT " + chunkColumns + " FROM chunk WHERE account = ? AND mailbox = ? AND max_mod_seq > ? ORDER BY +first_uid"
)

// readChunks calls each with the pages; page is the first one.
func readChunks(tx *sqlitedb.ReadTx, q index.SnapshotQuery, page *index.Page, each func(*index.Page) error) error {
	query := chunksSince
	if q.Since == 0 {
		query = wholeChunks
	}
	var mask mailbox.Flags
	var rows *sql.Rows
	var err error
	if q.Reader.Account != 0 {
		mask = q.Reader.Mask(page.Mailbox.Keywords)
		rows, err = queryReader(tx, q)
	} else {
		rows, err = tx.Query(query, int64(q.Account), int64(q.Mailbox), int64(q.Since))
	}
	if err != nil {
		return fmt.Errorf("read chunks: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if len(page.Chunks) == index.PageChunks {
			if err := each(page); err != nil {
				return err
			}
			page = &index.Page{Complete: page.Complete}
		}
		var p mailbox.Packed
		if q.Reader.Account != 0 {
			err = scanReader(rows, &p, mask)
		} else {
			err = rows.Scan(&p.FirstUID, &p.MaxModSeq, &p.UIDs, &p.Flags, &p.ModSeqs, &p.Emails, &p.Sizes, &p.Received, &p.Saved)
		}
		if err != nil {
			return fmt.Errorf("read chunks: %w", err)
		}
		page.Chunks = append(page.Chunks, p)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read chunks: %w", err)
	}
	page.Done = true
	return each(page)
}
