package unit

import (
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// ImportRows are the rows of imports within one write.
type ImportRows interface {
	// ImportedUIDs tells the UIDs that keys were imported with.
	ImportedUIDs(b *Box, keys []index.ImportKey) (map[index.ImportKey]mailbox.UID, error)
	// Present tells which of uids a mailbox has.
	Present(b *Box, uids []mailbox.UID) (map[mailbox.UID]bool, error)
	// PutImported notes messages that were filed.
	PutImported(b *Box, list []ImportedRow) error
	// ValiditySpent tells whether another mailbox of the account has a UIDVALIDITY, or any has had it.
	ValiditySpent(b *Box, v mailbox.UIDValidity) (bool, error)
	// SpendValidity notes that a mailbox has had one.
	SpendValidity(a *Account, v mailbox.UIDValidity) error
}

// ImportedRow is a message that was filed.
type ImportedRow struct {
	Key  index.ImportKey
	UID  mailbox.UID
	UIDL string
}

// Import files what was not filed before.
func (u *Unit) Import(rows ImportRows, q *index.Import) (r index.ImportResult, err error) {
	a, err := u.Account(q.Account)
	if err != nil {
		return r, err
	}
	b, err := u.importBox(a, q, &r)
	if err != nil {
		return r, err
	}
	if err := u.keepValidity(rows, b, q, &r); err != nil {
		return r, err
	}
	add, err := u.toImport(rows, b, q, &r)
	if err != nil {
		return r, err
	}
	if err := u.importRoom(b, q, add, &r); err != nil {
		return r, err
	}
	if err := u.file(rows, b, q, add, &r); err != nil {
		return r, err
	}
	if r.Kept && q.UIDNext > b.UIDNext && q.UIDNext <= index.MaxKeptUID {
		b.UIDNext = q.UIDNext
		b.changed()
	}
	r.Mailbox, r.UIDValidity, r.ModSeq, r.Changed = b.ID, b.UIDValidity, a.ModSeq, a.touched
	return r, u.Step("import.before-commit")
}

// importBox finds or makes the mailbox.
func (u *Unit) importBox(a *Account, q *index.Import, r *index.ImportResult) (*Box, error) {
	b, err := u.boxNamed(a, q.Name)
	if !q.Create || !errors.Is(err, index.ErrNoMailbox) {
		return b, err
	}
	use := q.SpecialUse
	if use != "" {
		if _, err := u.boxFor(a, use); err == nil {
			use = ""
		} else if !errors.Is(err, index.ErrNoMailbox) {
			return nil, err
		}
	}
	// What is made here, those above it too, is to have none of the UIDVALIDITYs that may be kept for what comes with it.
	if q.UIDValidity <= index.MaxKeptValidity {
		a.UIDValidity = max(a.UIDValidity, q.UIDValidity)
	}
	if b, err = u.createTree(a, q.Name, use); err != nil {
		return nil, err
	}
	r.Made = true
	if q.Subscribed {
		err = u.subscribe(a, q.Name)
	}
	return b, err
}

// keepValidity gives a mailbox without messages the UIDVALIDITY that it had elsewhere. Numbers that this account gives come
// behind it (RFC 9051 §2.3.1.1: never the same one for a name with other messages).
func (u *Unit) keepValidity(rows ImportRows, b *Box, q *index.Import, r *index.ImportResult) error {
	v := q.UIDValidity
	if r.Kept = v != 0 && b.UIDValidity == v; r.Kept || v == 0 || v > index.MaxKeptValidity || b.Messages > 0 {
		return nil
	}
	if v <= b.Account.UIDValidity {
		spent, err := rows.ValiditySpent(b, v)
		if err != nil {
			return fmt.Errorf("look for UIDVALIDITY %d: %w", v, err)
		}
		if spent {
			return nil
		}
	}
	// One in which no message ever was stands for none, whoever has seen it: it may be another mailbox's.
	if b.UIDNext > 1 {
		if err := rows.SpendValidity(b.Account, b.UIDValidity); err != nil {
			return fmt.Errorf("write UIDVALIDITY: %w", err)
		}
	}
	b.UIDValidity, r.Kept = v, true
	b.Account.UIDValidity = max(b.Account.UIDValidity, v)
	b.changed()
	return nil
}

// toImport are the places of the messages that are to be filed; what became of the others is told.
func (u *Unit) toImport(rows ImportRows, b *Box, q *index.Import, r *index.ImportResult) (add []int, err error) {
	r.Messages = make([]index.Imported, len(q.Messages))
	if len(q.Messages) == 0 {
		return nil, nil
	}
	keys := make([]index.ImportKey, len(q.Messages))
	for i := range q.Messages {
		keys[i] = q.Messages[i].Key
	}
	known, err := rows.ImportedUIDs(b, keys)
	if err != nil {
		return nil, fmt.Errorf("look for keys: %w", err)
	}
	uids := make([]mailbox.UID, 0, len(known))
	for _, uid := range known {
		uids = append(uids, uid)
	}
	present, err := rows.Present(b, uids)
	if err != nil {
		return nil, fmt.Errorf("look for messages: %w", err)
	}
	first := make(map[index.ImportKey]bool, len(keys))
	for i, k := range keys {
		uid, ok := known[k]
		switch {
		case first[k]: // the same message twice in one batch; file tells the UID
			r.Messages[i] = index.Imported{Status: index.ImportPresent}
		case ok && present[uid]:
			r.Messages[i] = index.Imported{Status: index.ImportPresent, UID: uid}
		case ok && !q.Again:
			r.Messages[i] = index.Imported{Status: index.ImportGone, UID: uid}
		default:
			first[k] = true
			add = append(add, i)
		}
	}
	return add, nil
}

// importRoom asks for room, and tells where there is none.
func (u *Unit) importRoom(b *Box, q *index.Import, add []int, r *index.ImportResult) error {
	var size int64
	for _, i := range add {
		size += q.Messages[i].VisibleSize()
	}
	err := u.room(b.Account, int64(len(add)), size)
	if err == nil && len(add) > 0 {
		err = u.roomIn([]*Box{b}, nil, int64(len(add)), size)
	}
	if errors.Is(err, index.ErrOverQuota) && (q.OverQuota || len(add) == 0) {
		r.Over, err = true, nil
	}
	return err
}

// file makes emails and entries, and notes their keys.
func (u *Unit) file(rows ImportRows, b *Box, q *index.Import, add []int, r *index.ImportResult) error {
	if len(add) == 0 {
		return nil
	}
	condemned, err := u.anyCondemned()
	if err != nil {
		return err
	}
	for _, i := range add {
		u.findThreads(b.Account.ID, &q.Messages[i].Message)
	}
	if err := u.loadThreads(); err != nil {
		return err
	}
	list := make([]ImportedRow, 0, len(add))
	got := make(map[index.ImportKey]mailbox.UID, len(add))
	for _, i := range add {
		m := &q.Messages[i]
		if condemned {
			if err := u.checkCondemned(&m.Message); err != nil {
				return err
			}
		}
		if err := u.Step("import.before-email"); err != nil {
			return err
		}
		email, err := u.putEmail(b.Account, &m.Message)
		if err != nil {
			return err
		}
		// A keyword without room is left out: the message counts for more.
		flags, full := u.flags(b, m.Flags)
		if full != nil && !errors.Is(full, index.ErrKeywords) {
			return full
		}
		e := entryOf(&m.Message, email, flags)
		e.Saved = u.saved(m.Saved)
		if r.Kept && m.UID > b.UIDNext && m.UID <= index.MaxKeptUID {
			b.UIDNext = m.UID
		}
		uid, err := u.addSaved(b, e)
		if err != nil {
			return err
		}
		r.Messages[i] = index.Imported{Status: index.ImportFiled, UID: uid, KeywordsLeftOut: full != nil}
		list = append(list, ImportedRow{m.Key, uid, m.UIDL})
		got[m.Key] = uid
	}
	for i := range r.Messages {
		if m := &r.Messages[i]; m.Status == index.ImportPresent && m.UID == 0 {
			m.UID = got[q.Messages[i].Key]
		}
	}
	if err := rows.PutImported(b, list); err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	return nil
}

// saved is a save date that is no later than now.
func (u *Unit) saved(t time.Time) int64 {
	if t.IsZero() || t.After(u.Now) {
		return u.Now.Unix()
	}
	return t.Unix()
}
