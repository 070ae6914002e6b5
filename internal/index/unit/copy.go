package unit

import (
	"fmt"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// CopyBy makes entries of the same emails at the end of a mailbox, and takes them out of the source where they move.
func (u *Unit) CopyBy(q *index.Copying) (index.CopyResult, error) {
	from, to, err := u.copyBoxes(q.Account, q.Source, q.Target)
	if err != nil {
		return index.CopyResult{}, err
	}
	if q.Move {
		return u.move(from, to, q)
	}
	return u.copy(from, to, q)
}

func (u *Unit) copyBoxes(id mailbox.AccountID, source mailbox.ID, target string) (from, to *Box, err error) {
	a, err := u.Account(id)
	if err != nil {
		return nil, nil, err
	}
	if from, err = u.box(a, source); err != nil {
		return nil, nil, err
	}
	to, err = u.boxNamed(a, target)
	return from, to, err
}

func (u *Unit) move(from, to *Box, q *index.Copying) (index.CopyResult, error) {
	r, err := u.copy(from, to, q)
	if err != nil {
		return r, err
	}
	// Only what was copied goes: within one mailbox the copies stay.
	_, err = u.remove(from, r.Source, true, index.Moved)
	return r, err
}

// copy adds entries of the emails that q names in from at the end of to.
func (u *Unit) copy(from, to *Box, q *index.Copying) (r index.CopyResult, err error) {
	r = index.CopyResult{Target: to.ID, UIDValidity: to.UIDValidity, ModSeq: to.Account.ModSeq}
	entries, own, err := u.entries(from, q)
	if err != nil || len(entries) == 0 {
		return r, err
	}
	if err := u.checkCopy(from, to, entries, !q.Move); err != nil {
		return r, err
	}
	var used mailbox.Flags
	for i, e := range entries {
		used |= (e.Flags | own[i]) &^ q.Deny
	}
	carry, err := u.carry(from, to, used)
	if err != nil {
		return r, err
	}
	uids := make([]mailbox.UID, 0, len(entries))
	for i, e := range entries {
		r.Source = r.Source.Add(e.UID)
		e.Flags, own[i] = carry(e.Flags&^q.Deny), carry(own[i]&^q.Deny)
		uid, err := u.add(to, e)
		if err != nil {
			return r, err
		}
		r.Copies, uids = r.Copies.Add(uid), append(uids, uid)
	}
	if err := u.flushBox(to); err != nil {
		return r, err
	}
	if err := u.Step("copy.before-own"); err != nil {
		return r, err
	}
	err = u.flagOwn(to, q.Reader, uids, ownBits(own, to.Keywords))
	r.ModSeq = to.Account.ModSeq
	return r, err
}

// ownBits are the flags that each of some messages has for a reader.
func ownBits(own []mailbox.Flags, keywords []string) (list []ownFlag) {
	all := mailbox.Flags(0)
	for _, f := range own {
		all |= f
	}
	for _, name := range all.Names(keywords) {
		bit, _ := mailbox.FindFlag(name, keywords)
		o := ownFlag{name: name}
		for i, f := range own {
			if f&bit != 0 {
				o.at = append(o.at, i)
			}
		}
		list = append(list, o)
	}
	return list
}

// entries reads those entries of a mailbox that are copied, and the flags that they have for the reader alone.
func (u *Unit) entries(b *Box, q *index.Copying) (list []mailbox.Entry, own []mailbox.Flags, err error) {
	packed, err := u.chunksOf(b, q.UIDs)
	if err != nil {
		return nil, nil, err
	}
	var rows map[mailbox.UID]*mailbox.Packed
	if q.Reader.Account != 0 {
		firsts := make([]mailbox.UID, len(packed))
		for i := range packed {
			firsts[i] = packed[i].FirstUID
		}
		if rows, err = u.Rows.OwnChunks(b, q.Reader.Account, firsts); err != nil {
			return nil, nil, fmt.Errorf("read reader's flags: %w", err)
		}
	}
	mask := q.Reader.Mask(b.Keywords)
	chunk := u.chunk()
	defer u.chunks.Put(chunk)
	for i := range packed {
		if err := chunk.Unpack(&packed[i]); err != nil {
			return nil, nil, err
		}
		var mine mailbox.Chunk
		if p := rows[packed[i].FirstUID]; p != nil {
			if err := mine.UnpackFlags(p); err != nil {
				return nil, nil, err
			}
		}
		for i, uid := range chunk.UIDs {
			if !q.UIDs.Contains(uid) {
				continue
			}
			var f mailbox.Flags
			if k, ok := mine.Find(uid); ok {
				f = mine.Flags[k] & mask
			}
			list, own = append(list, chunk.At(i)), append(own, f)
		}
	}
	return list, own, nil
}

func (u *Unit) checkCopy(from, to *Box, entries []mailbox.Entry, needsRoom bool) error {
	var size int64
	for _, e := range entries {
		size += e.Size
	}
	giver := from // MOVE takes out of from what it adds
	if needsRoom {
		giver = nil
		if err := u.room(from.Account, int64(len(entries)), size); err != nil {
			return err
		}
	}
	if err := u.roomIn([]*Box{to}, giver, int64(len(entries)), size); err != nil {
		return err
	}
	// Hardly ever is anything condemned, so that one look spares one for every email.
	if any, err := u.anyCondemned(); err != nil || !any {
		return err
	}
	emails := make([]mailbox.EmailID, len(entries))
	for i, e := range entries {
		emails[i] = e.Email
	}
	condemned, err := u.Rows.CondemnedEmails(from.Account, emails)
	if err != nil {
		return fmt.Errorf("look for condemned body: %w", err)
	}
	if condemned {
		return index.ErrCondemned
	}
	return nil
}

func (u *Unit) anyCondemned() (bool, error) {
	any, err := u.Rows.AnyCondemned()
	if err != nil {
		return false, fmt.Errorf("look for condemned bodies: %w", err)
	}
	return any, nil
}

// carry tells how flags of from are written in to; used are those that any entry has. ErrKeywords where one has no room: who
// moves a message must not lose of it what he could not get back.
func (u *Unit) carry(from, to *Box, used mailbox.Flags) (func(mailbox.Flags) mailbox.Flags, error) {
	system := mailbox.KeywordFlag(0) - 1
	if to == from || used&^system == 0 {
		return func(f mailbox.Flags) mailbox.Flags { return f }, nil
	}
	var bits [mailbox.MaxKeywords]mailbox.Flags
	for i, name := range from.Keywords {
		if used&mailbox.KeywordFlag(i) == 0 {
			continue
		}
		bit, err := u.flags(to, []string{name})
		if err != nil {
			return nil, err
		}
		bits[i] = bit
	}
	return func(f mailbox.Flags) mailbox.Flags {
		g := f & system
		for i, bit := range bits {
			if f&mailbox.KeywordFlag(i) != 0 {
				g |= bit
			}
		}
		return g
	}, nil
}
