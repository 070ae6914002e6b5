package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/pgdb"
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
	return m.d.db.Read(ctx, func(tx *pgdb.ReadTx) error {
		mbox, purged, err := readMailbox(tx, q)
		if err != nil {
			return err
		}
		switch {
		case recent != nil:
			mbox.RecentUID = *recent
		case q.TakeRecent && mbox.RecentUID < mbox.UIDNext:
			return errRecentBehind
		}
		page, q := &index.Page{Mailbox: &mbox}, q
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
	// Under the account's lock like everything that writes the row.
	return write(ctx, m.d, load{accounts: one(q.Account)}, func(_ *unit.Unit, r *rows) (recent mailbox.UID, err error) {
		err = r.tx.QueryRow("SELECT recent_uid FROM mailbox WHERE account = $1 AND mailbox = $2", int64(q.Account), int64(q.Mailbox)).Scan(&recent)
		if errors.Is(err, pgdb.ErrNoRows) {
			return 0, index.ErrNoMailbox
		} else if err != nil {
			return 0, fmt.Errorf("read recent mark: %w", err)
		}
		if _, err = r.tx.Exec("UPDATE mailbox SET recent_uid = uid_next WHERE account = $1 AND mailbox = $2", int64(q.Account), int64(q.Mailbox)); err != nil {
			return 0, fmt.Errorf("move recent mark: %w", err)
		}
		return recent, nil
	})
}

const readBox = `SELECT ` + unit.BoxColumns + `, purged_mod_seq,
	EXISTS (SELECT 1 FROM subscription s WHERE s.account = mailbox.account AND s.name = mailbox.name)
	FROM mailbox WHERE account = $1 AND mailbox = $2`

func readMailbox(tx *pgdb.ReadTx, q index.SnapshotQuery) (m index.Mailbox, purged mailbox.ModSeq, err error) {
	err = unit.ScanBox(tx.QueryRow(readBox, int64(q.Account), int64(q.Mailbox)), &m, &purged, &m.Subscribed)
	if errors.Is(err, pgdb.ErrNoRows) {
		err = index.ErrNoMailbox
	}
	return m, purged, err
}

const readTombstones = `SELECT uids FROM tombstone WHERE account = $1 AND mailbox = $2 AND mod_seq > $3 ORDER BY mod_seq`

func readExpunged(tx *pgdb.ReadTx, q index.SnapshotQuery) (mailbox.UIDSet, error) {
	var all mailbox.UIDSet
	rows, err := tx.Query(readTombstones, int64(q.Account), int64(q.Mailbox), int64(q.Since))
	err = eachRow(rows, err, func() error {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return err
		}
		set, err := mailbox.DecodeUIDSet(b)
		all = append(all, set...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read tombstones: %w", err)
	}
	return mailbox.NewUIDSet(all...), nil
}

const snapshotChunks = `SELECT ` + chunkColumns + ` FROM chunk WHERE account = $1 AND mailbox = $2 AND max_mod_seq > $3 ORDER BY first_uid`

// readChunks calls each with the pages; page is the first one.
func readChunks(tx *pgdb.ReadTx, q index.SnapshotQuery, page *index.Page, each func(*index.Page) error) error {
	var mask mailbox.Flags
	var rows pgx.Rows
	var err error
	if q.Reader.Account != 0 {
		mask = q.Reader.Mask(page.Mailbox.Keywords)
		rows, err = queryReader(tx, q, q.Since)
	} else {
		rows, err = tx.Query(snapshotChunks, int64(q.Account), int64(q.Mailbox), int64(q.Since))
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
			err = scanChunk(rows, &p)
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
