package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// box is a mailbox's row within a unit, and its last chunk where entries were added.
type box struct {
	index.Mailbox
	account *account
	dirty   bool
	gone    bool
	// tail is the last chunk once it was read; stored tells that it has a row, and tailDirty that it must be written.
	tail              *mailbox.Chunk
	stored, tailDirty bool
}

const boxColumns = `mailbox, name, special_use, uid_validity, uid_next, highest_mod_seq, messages, unseen, deleted, size, recent_uid, keywords`

// scanner is a row, of whatever kind.
type scanner interface{ Scan(dest ...any) error }

func scanBox(row scanner, m *index.Mailbox, more ...any) error {
	var keywords string
	err := row.Scan(append([]any{&m.ID, &m.Name, &m.SpecialUse, &m.UIDValidity, &m.UIDNext, &m.HighestModSeq, &m.Messages,
		&m.Unseen, &m.Deleted, &m.Size, &m.RecentUID, &keywords}, more...)...)
	if keywords != "" {
		m.Keywords = strings.Split(keywords, " ")
	}
	return err
}

// adopt makes b one of its account's, or finds the one that was read before.
func (a *account) adopt(b *box) *box {
	for _, have := range a.boxes {
		if have.ID == b.ID {
			return have
		}
	}
	b.account = a
	a.boxes = append(a.boxes, b)
	return b
}

// box reads a mailbox by its id.
func (u *unit) box(a *account, id mailbox.ID) (*box, error) {
	for _, b := range a.boxes {
		if b.ID == id && !b.gone {
			return b, nil
		}
	}
	return u.oneBox(a, "SELECT "+boxColumns+" FROM mailbox WHERE account = ? AND mailbox = ?", int64(a.id), int64(id))
}

// boxNamed reads a mailbox by its name.
func (u *unit) boxNamed(a *account, name string) (*box, error) {
	for _, b := range a.boxes {
		if b.Name == name && !b.gone {
			return b, nil
		}
	}
	return u.oneBox(a, "SELECT "+boxColumns+" FROM mailbox WHERE account = ? AND name = ?", int64(a.id), name)
}

// boxFor reads the mailbox of a special use.
func (u *unit) boxFor(a *account, specialUse string) (*box, error) {
	for _, b := range a.boxes {
		if b.SpecialUse == specialUse && !b.gone {
			return b, nil
		}
	}
	return u.oneBox(a, "SELECT "+boxColumns+" FROM mailbox WHERE account = ? AND special_use = ? LIMIT 1", int64(a.id), specialUse)
}

func (u *unit) oneBox(a *account, query string, args ...any) (*box, error) {
	b := &box{}
	err := scanBox(u.tx.QueryRow(query, args...), &b.Mailbox)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, index.ErrNoMailbox
	}
	if err != nil {
		return nil, fmt.Errorf("read mailbox: %w", err)
	}
	if b = a.adopt(b); b.gone {
		return nil, index.ErrNoMailbox
	}
	return b, nil
}

// allBoxes reads all mailboxes of an account.
func (u *unit) allBoxes(a *account) ([]*box, error) {
	rows, err := u.tx.Query("SELECT "+boxColumns+" FROM mailbox WHERE account = ?", int64(a.id))
	if err != nil {
		return nil, fmt.Errorf("read mailboxes: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		b := &box{}
		if err := scanBox(rows, &b.Mailbox); err != nil {
			return nil, fmt.Errorf("read mailboxes: %w", err)
		}
		a.adopt(b)
	}
	boxes := make([]*box, 0, len(a.boxes))
	for _, b := range a.boxes {
		if !b.gone {
			boxes = append(boxes, b)
		}
	}
	return boxes, rows.Err()
}

// changed marks the mailbox as changed and returns the MODSEQ of the change.
func (b *box) changed() mailbox.ModSeq {
	b.dirty = true
	b.HighestModSeq = b.account.touch()
	return b.HighestModSeq
}

// count adds (by 1) or takes away (by -1) an entry in the counters.
func (b *box) count(e mailbox.Entry, by int) {
	b.Messages += uint32(by)
	b.Size += int64(by) * e.Size
	b.account.messages += int64(by)
	b.account.size += int64(by) * e.Size
	if e.Flags&mailbox.Seen == 0 {
		b.Unseen += uint32(by)
	}
	if e.Flags&mailbox.Deleted != 0 {
		b.Deleted += uint32(by)
	}
}

// flags finds the bits of flag names, giving a bit to keywords that the mailbox does not have; where it has no room,
// they are left out and ErrKeywords is returned beside the rest.
func (b *box) flags(names []string) (f mailbox.Flags, err error) {
	for _, name := range names {
		if bit, ok := mailbox.FindFlag(name, b.Keywords); ok {
			f |= bit
			continue
		}
		if len(b.Keywords) >= mailbox.MaxKeywords {
			err = index.ErrKeywords
			continue
		}
		f |= mailbox.KeywordFlag(len(b.Keywords))
		// A copy, so that whoever holds the old list keeps it.
		b.Keywords = append(b.Keywords[:len(b.Keywords):len(b.Keywords)], name)
	}
	return f, err
}

// add puts an entry at the end of the mailbox; its UID and MODSEQ are given here.
func (u *unit) add(b *box, e mailbox.Entry) (mailbox.UID, error) {
	if b.UIDNext == mailbox.MaxUID {
		return 0, index.ErrUIDs // the last is left, as UIDNEXT must fit too
	}
	if b.tail == nil {
		if err := u.readTail(b); err != nil {
			return 0, err
		}
	}
	if b.tail.Len() >= mailbox.ChunkSize {
		if err := u.flushTail(b); err != nil {
			return 0, err
		}
		b.tail.Reset()
		b.stored = false
	}
	e.UID = b.UIDNext
	e.ModSeq = b.changed()
	if b.tail.Len() == 0 {
		b.tail.FirstUID = e.UID
	}
	b.UIDNext++
	b.tail.Add(e)
	b.tailDirty = true
	b.count(e, 1)
	return e.UID, nil
}

func (u *unit) readTail(b *box) error {
	b.tail = u.d.chunk()
	if b.Messages == 0 {
		return nil
	}
	rows, err := u.tx.Query(`SELECT first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received FROM chunk
		WHERE account = ? AND mailbox = ? ORDER BY first_uid DESC LIMIT 1`, int64(b.account.id), int64(b.ID))
	if err != nil {
		return fmt.Errorf("read last chunk: %w", err)
	}
	defer rows.Close()
	if rows.Next() {
		var p mailbox.Packed
		if err := scanChunkRaw(rows, &p); err != nil {
			return fmt.Errorf("read last chunk: %w", err)
		}
		if err := b.tail.Unpack(&p); err != nil {
			return fmt.Errorf("read last chunk: %w", err)
		}
		b.stored = true
	}
	return rows.Err()
}

// scanChunkRaw reads a chunk's row without copying it: p holds until the next row.
func scanChunkRaw(rows *sql.Rows, p *mailbox.Packed) error {
	return rows.Scan(&p.FirstUID, &p.MaxModSeq, (*sql.RawBytes)(&p.UIDs), (*sql.RawBytes)(&p.Flags), (*sql.RawBytes)(&p.ModSeqs),
		(*sql.RawBytes)(&p.Emails), (*sql.RawBytes)(&p.Sizes), (*sql.RawBytes)(&p.Received))
}

func (u *unit) flushTail(b *box) error {
	if !b.tailDirty {
		return nil
	}
	b.tailDirty = false
	p := b.tail.Pack()
	if err := u.putChunk(b, &p, b.stored); err != nil {
		return err
	}
	b.stored = true
	return nil
}

// putChunk writes a whole chunk, over the row it has or as a new one.
func (u *unit) putChunk(b *box, p *mailbox.Packed, stored bool) (err error) {
	if stored {
		_, err = u.tx.Exec(`UPDATE chunk SET max_mod_seq = ?, uids = ?, flags = ?, mod_seqs = ?, emails = ?, sizes = ?, received = ?
			WHERE account = ? AND mailbox = ? AND first_uid = ?`, int64(p.MaxModSeq), p.UIDs, p.Flags, p.ModSeqs, p.Emails, p.Sizes, p.Received,
			int64(b.account.id), int64(b.ID), int64(p.FirstUID))
	} else {
		_, err = u.tx.Exec(`INSERT INTO chunk (account, mailbox, first_uid, max_mod_seq, uids, flags, mod_seqs, emails, sizes, received)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, int64(b.account.id), int64(b.ID), int64(p.FirstUID), int64(p.MaxModSeq),
			p.UIDs, p.Flags, p.ModSeqs, p.Emails, p.Sizes, p.Received)
	}
	if err != nil {
		return fmt.Errorf("write chunk %d: %w", p.FirstUID, err)
	}
	return nil
}

// flushBox writes the last chunk and the row; what was read of the chunk is forgotten.
func (u *unit) flushBox(b *box) error {
	if err := u.flushTail(b); err != nil {
		return err
	}
	if b.tail != nil {
		u.d.chunks.Put(b.tail)
		b.tail, b.stored = nil, false
	}
	if !b.dirty || b.gone {
		return nil
	}
	b.dirty = false
	_, err := u.tx.Exec(`UPDATE mailbox SET uid_validity = ?, uid_next = ?, highest_mod_seq = ?, messages = ?, unseen = ?,
		deleted = ?, size = ?, recent_uid = ?, keywords = ? WHERE account = ? AND mailbox = ?`,
		int64(b.UIDValidity), int64(b.UIDNext), int64(b.HighestModSeq), int64(b.Messages), int64(b.Unseen),
		int64(b.Deleted), b.Size, int64(b.RecentUID), strings.Join(b.Keywords, " "), int64(b.account.id), int64(b.ID))
	return err
}
