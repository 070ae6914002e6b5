package sqlite

import (
	"database/sql"
	"errors"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/domainquota"
	"github.com/mailfarm/mailfarm/internal/index/imports"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
)

// rows is unit.Rows and unit.DeliverRows in one write.
type rows struct {
	d  *DB
	tx *sqlitedb.Tx
	// now is nanoseconds since 1970 UTC.
	now int64
	// threads are rows of conversation that were loaded or are to be written; newThreads are the latter.
	threads    map[unit.ThreadKey]mailbox.ThreadID
	newThreads []unit.ThreadKey
	// changes are of what the write changes in tables that are remembered; see knownBoxes.
	changes changes
}

var (
	_ unit.Rows        = (*rows)(nil)
	_ unit.DeliverRows = (*rows)(nil)
)

// exec runs a statement whose count of rows nobody needs.
func (r *rows) exec(query string, args ...any) error {
	_, err := r.tx.Exec(query, args...)
	return err
}

func (r *rows) ReadAccount(a *unit.Account) (current bool, err error) {
	var timeline int64
	err = r.tx.QueryRow(`SELECT timeline, mod_seq, uid_validity, a.messages, a.size, quota_size, quota_messages, quota_level, quota_roots,
		`+domainquota.Columns+` FROM account a `+domainquota.Join+` WHERE account = ?`, int64(a.ID)).
		Scan(append([]any{&timeline, &a.ModSeq, &a.UIDValidity, &a.Messages, &a.Size, &a.QuotaSize, &a.QuotaCount, &a.QuotaLevel, &a.QuotaRoots},
			domainquota.Fields(&a.Domain)...)...)
	none := errors.Is(err, sql.ErrNoRows)
	if err != nil && !none {
		return false, err
	}
	if current = !none && timeline == r.d.timeline.Load(); current {
		return true, nil
	}
	state, err := kept.ReadDropState(plainSQL{r.tx, r.tx}, a.ID)
	if err == nil {
		err = state.Err()
	}
	if err == nil && none {
		err = index.ErrNoAccount
	}
	return false, err
}

func (r *rows) MakeAccount(a *unit.Account) error {
	a.BeginAt(r.d.timeline.Load())
	return r.exec("INSERT INTO account (account, timeline, mod_seq, uid_validity, messages, size) VALUES (?, ?, 0, 0, 0, 0)",
		int64(a.ID), r.d.timeline.Load())
}

func (r *rows) JumpAccount(a *unit.Account) error {
	r.changes.of(a.ID)
	if err := r.exec("UPDATE mailbox SET purged_mod_seq = ? WHERE account = ?", int64(a.ModSeq), int64(a.ID)); err != nil {
		return err
	}
	return r.exec("UPDATE account SET timeline = ? WHERE account = ?", r.d.timeline.Load(), int64(a.ID))
}

func (r *rows) SaveAccount(a *unit.Account) error {
	return r.exec(`UPDATE account SET mod_seq = ?, uid_validity = ?, messages = ?, size = ?, quota_size = ?, quota_messages = ?,
		quota_level = ?, quota_roots = ?, domain = ? WHERE account = ?`,
		int64(a.ModSeq), int64(a.UIDValidity), a.Messages, a.Size, a.QuotaSize, a.QuotaCount, a.QuotaLevel, a.QuotaRoots, a.Domain.Name, int64(a.ID))
}

func (r *rows) MakeSubscriptions(a *unit.Account, names []string) error {
	for _, name := range names {
		if _, err := r.Subscribe(a, name); err != nil {
			return err
		}
	}
	return nil
}

func (r *rows) Subscribe(a *unit.Account, name string) (bool, error) {
	r.changes.of(a.ID)
	n, err := r.tx.Exec("INSERT INTO subscription (account, name) VALUES (?, ?) ON CONFLICT DO NOTHING", int64(a.ID), name)
	return n > 0, err
}

func (r *rows) Unsubscribe(a *unit.Account, name string) (bool, error) {
	r.changes.of(a.ID)
	n, err := r.tx.Exec("DELETE FROM subscription WHERE account = ? AND name = ?", int64(a.ID), name)
	return n > 0, err
}

func (r *rows) Subscriptions(a *unit.Account) (n int, err error) {
	err = r.tx.QueryRow("SELECT COUNT(*) FROM subscription WHERE account = ?", int64(a.ID)).Scan(&n)
	return n, err
}

func (r *rows) BoxByID(a *unit.Account, id mailbox.ID) (*unit.Box, error) {
	return r.oneBox("SELECT "+unit.BoxColumns+" FROM mailbox WHERE account = ? AND mailbox = ?", int64(a.ID), int64(id))
}

func (r *rows) BoxNamed(a *unit.Account, name string) (*unit.Box, error) {
	return r.oneBox("SELECT "+unit.BoxColumns+" FROM mailbox WHERE account = ? AND name = ?", int64(a.ID), name)
}

func (r *rows) BoxFor(a *unit.Account, specialUse string) (*unit.Box, error) {
	return r.oneBox("SELECT "+unit.BoxColumns+" FROM mailbox WHERE account = ? AND special_use = ? LIMIT 1", int64(a.ID), specialUse)
}

func (r *rows) oneBox(query string, args ...any) (*unit.Box, error) {
	b := &unit.Box{}
	err := unit.ScanBox(r.tx.QueryRow(query, args...), &b.Mailbox)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, index.ErrNoMailbox
	}
	return b, err
}

func (r *rows) AllBoxes(a *unit.Account) (list []*unit.Box, err error) {
	rows, err := r.tx.Query("SELECT "+unit.BoxColumns+" FROM mailbox WHERE account = ?", int64(a.ID))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		b := &unit.Box{}
		if err := unit.ScanBox(rows, &b.Mailbox); err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, rows.Err()
}

func (r *rows) CountBoxes(a *unit.Account) (n int, err error) {
	err = r.tx.QueryRow("SELECT COUNT(*) FROM mailbox WHERE account = ?", int64(a.ID)).Scan(&n)
	return n, err
}

func (r *rows) MakeBox(b *unit.Box) error {
	r.changes.of(b.Account.ID)
	return r.exec(`INSERT INTO mailbox (account, mailbox, name, special_use, uid_validity, uid_next, highest_mod_seq, purged_mod_seq,
		messages, unseen, deleted, size, recent_uid, keywords) VALUES (?, ?, ?, ?, ?, 1, ?, ?, 0, 0, 0, 0, 1, '')`,
		int64(b.Account.ID), int64(b.ID), b.Name, b.SpecialUse, int64(b.UIDValidity), int64(b.HighestModSeq), int64(b.HighestModSeq))
}

func (r *rows) SaveBox(b *unit.Box) error {
	r.changes.saved(b.Account.ID, &b.Mailbox)
	return r.exec(`UPDATE mailbox SET uid_validity = ?, uid_next = ?, highest_mod_seq = ?, messages = ?, unseen = ?,
		deleted = ?, size = ?, recent_uid = ?, keywords = ? WHERE account = ? AND mailbox = ?`,
		int64(b.UIDValidity), int64(b.UIDNext), int64(b.HighestModSeq), int64(b.Messages), int64(b.Unseen),
		int64(b.Deleted), b.Size, int64(b.RecentUID), unit.JoinKeywords(&b.Mailbox), int64(b.Account.ID), int64(b.ID))
}

func (r *rows) RenameBox(b *unit.Box, name string) error {
	r.changes.of(b.Account.ID)
	return r.exec("UPDATE mailbox SET name = ? WHERE account = ? AND mailbox = ?", name, int64(b.Account.ID), int64(b.ID))
}

func (r *rows) DropBox(b *unit.Box) error {
	r.changes.of(b.Account.ID)
	if err := r.dropShared(b); err != nil {
		return err
	}
	for _, s := range imports.DropBox(b) {
		if err := r.exec(kept.Numbered(s.Query), s.Args...); err != nil {
			return err
		}
	}
	return r.exec("DELETE FROM mailbox WHERE account = ? AND mailbox = ?", int64(b.Account.ID), int64(b.ID))
}

func (r *rows) PutTombstone(b *unit.Box, seq mailbox.ModSeq, uids mailbox.UIDSet, emails []mailbox.EmailID) error {
	return r.exec("INSERT INTO tombstone (account, mailbox, mod_seq, uids, emails, expunged_ns) VALUES (?, ?, ?, ?, ?, ?)",
		int64(b.Account.ID), int64(b.ID), int64(seq), mailbox.AppendUIDSet(nil, uids), mailbox.AppendEmails([]byte{}, emails), r.now)
}

func (r *rows) PutEmail(a *unit.Account, id mailbox.EmailID, thread mailbox.ThreadID, m *index.Message, overlay []byte) error {
	return r.exec(`INSERT INTO email (email, account, thread, size, received_ns, blob_id, overlay, part_index_version, part_index)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, int64(id), int64(a.ID), int64(thread), m.Size, m.Received.UnixNano(), m.Blob.Bytes(),
		unit.NotNil(overlay), unit.IndexVersion(m.PartIndex), unit.NotNil(m.PartIndex))
}

func (r *rows) AnyCondemned() (bool, error) {
	var one int
	err := r.tx.QueryRow("SELECT 1 FROM condemned LIMIT 1").Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return one > 0, err
}

func (r *rows) Condemned(id blob.ID) (bool, error) {
	var n int
	err := r.tx.QueryRow("SELECT COUNT(*) FROM condemned WHERE blob_id = ?", id.Bytes()).Scan(&n)
	return n > 0, err
}

func (r *rows) CondemnedEmails(_ *unit.Account, emails []mailbox.EmailID) (bool, error) {
	for _, id := range emails {
		var n int
		if err := r.tx.QueryRow("SELECT COUNT(*) FROM condemned c, email e WHERE e.email = ? AND c.blob_id = e.blob_id", int64(id)).Scan(&n); err != nil || n > 0 {
			return n > 0, err
		}
	}
	return false, nil
}
