package unit

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// QuotaRow has the limits of a folder.
type QuotaRow struct {
	Root mailbox.ID
	index.Limits
}

// QuotaRows are the rows of quota.
type QuotaRows interface {
	Quotas(a *Account) ([]QuotaRow, error)
	// PutQuota writes the limits of a folder; none remove the row.
	PutQuota(a *Account, row QuotaRow) error
	// PutNotice notes that the owner is to be told of a level, unless it is the one that he was told last.
	PutNotice(a *Account, previous int) error
	// Notice tells the level that the owner is to be told; false for none.
	Notice(a *Account) (level int, found bool, err error)
	DropNotice(a *Account) error
}

// limits are those that hold for the whole account; 0 is none.
func (s *Shared) limits(a *Account) index.Limits {
	return s.Limits(index.Limits{Size: a.QuotaSize, Messages: a.QuotaCount}, a.Domain.Each)
}

// Limits are those that hold where own were set for an account, and each for those of its domain; 0 is none.
func (s *Shared) Limits(own, each index.Limits) index.Limits {
	return index.Limits{
		Size: max(0, cmp.Or(own.Size, each.Size, s.QuotaSize)), Messages: max(0, cmp.Or(own.Messages, each.Messages, s.QuotaMessages)),
	}
}

// room tells whether messages of size octets in all may be added to an account.
func (u *Unit) room(a *Account, messages, size int64) error {
	if !fits(u.limits(a), a.Messages+messages, a.Size+size) {
		return index.ErrOverQuota
	}
	return u.roomInDomain(a, messages, size)
}

func fits(l index.Limits, messages, size int64) bool {
	return (l.Size <= 0 || size <= l.Size) && (l.Messages <= 0 || messages <= l.Messages)
}

// roomIn tells whether messages may be added to each of some mailboxes of an account by the limits of folders: those under one
// root count together. from, where it is not nil, is the mailbox that gives them: within one root nothing is added.
func (u *Unit) roomIn(into []*Box, from *Box, messages, size int64) error {
	if len(into) == 0 || into[0].Account.QuotaRoots == 0 {
		return nil
	}
	a := into[0].Account
	rows, err := u.quotas(a)
	if err != nil {
		return err
	}
	boxes, err := u.allBoxes(a)
	if err != nil {
		return err
	}
	for _, row := range rows {
		root := boxOf(boxes, row.Root)
		if root == nil || from != nil && root.covers(from) {
			continue
		}
		var n int64
		for _, b := range into {
			if root.covers(b) {
				n++
			}
		}
		if n == 0 {
			continue
		}
		if used := usedBelow(boxes, root); !fits(row.Limits, used.Messages+n*messages, used.Size+n*size) {
			return index.ErrOverQuota
		}
	}
	return nil
}

// rootsBefore are the limits of folders with what they hold before mailboxes change their names.
type rootsBefore []rootBefore

type rootBefore struct {
	root   *Box
	limits index.Limits
	used   index.Limits
}

func (u *Unit) rootsBefore(a *Account, boxes []*Box) (list rootsBefore, err error) {
	if a.QuotaRoots == 0 {
		return nil, nil
	}
	rows, err := u.quotas(a)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if root := boxOf(boxes, row.Root); root != nil {
			list = append(list, rootBefore{root, row.Limits, usedBelow(boxes, root)})
		}
	}
	return list, nil
}

// grown looks whether folders with limits have room for what came below them with a new name (RFC 9208 §4.3.1). One that was
// over its limits already and gets nothing is none of it: people must be able to rename it.
func (list rootsBefore) grown(boxes []*Box) error {
	for _, r := range list {
		used := usedBelow(boxes, r.root)
		if (used.Messages > r.used.Messages || used.Size > r.used.Size) && !fits(r.limits, used.Messages, used.Size) {
			return index.ErrOverQuota
		}
	}
	return nil
}

func (u *Unit) quotas(a *Account) ([]QuotaRow, error) {
	rows, err := u.Rows.Quotas(a)
	if err != nil {
		return nil, fmt.Errorf("read quotas: %w", err)
	}
	return rows, nil
}

func boxOf(boxes []*Box, id mailbox.ID) *Box {
	i := slices.IndexFunc(boxes, func(b *Box) bool { return b.ID == id })
	if i < 0 {
		return nil
	}
	return boxes[i]
}

// covers tells whether a mailbox is this one or lies below it.
func (b *Box) covers(other *Box) bool { return b == other || below(other.Name, b.Name) }

func usedBelow(boxes []*Box, root *Box) (used index.Limits) {
	for _, b := range boxes {
		if root.covers(b) {
			used.Messages += int64(b.Messages)
			used.Size += b.Size
		}
	}
	return used
}

// Quota tells an account's roots, or those that hold for a mailbox.
func (u *Unit) Quota(id mailbox.AccountID, name string) ([]index.QuotaRoot, error) {
	a, err := u.Account(id)
	if err != nil {
		return nil, err
	}
	var of *Box
	if name != "" {
		if of, err = u.boxNamed(a, name); err != nil {
			return nil, err
		}
	}
	roots := []index.QuotaRoot{{
		Own: index.Limits{Size: a.QuotaSize, Messages: a.QuotaCount}, Limits: u.limits(a), Size: a.Size, Messages: a.Messages,
	}}
	if a.QuotaRoots == 0 {
		return roots, nil
	}
	rows, err := u.quotas(a)
	if err != nil {
		return nil, err
	}
	boxes, err := u.allBoxes(a)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		root := boxOf(boxes, row.Root)
		if root == nil || of != nil && !root.covers(of) {
			continue
		}
		used := usedBelow(boxes, root)
		roots = append(roots, index.QuotaRoot{
			Root: root.ID, Name: root.Name, Own: row.Limits, Size: used.Size, Messages: used.Messages,
			Limits: index.Limits{Size: max(0, row.Size), Messages: max(0, row.Messages)},
		})
	}
	slices.SortFunc(roots[1:], func(a, b index.QuotaRoot) int { return cmp.Compare(a.Name, b.Name) })
	return roots, nil
}

// SetQuota sets the limits of an account or of a folder.
func (u *Unit) SetQuota(id mailbox.AccountID, name string, limits index.Limits) error {
	a, err := u.Account(id)
	if err != nil {
		return err
	}
	if name == "" {
		a.QuotaSize, a.QuotaCount = limits.Size, limits.Messages
		a.dirty = true
		return nil
	}
	b, err := u.boxNamed(a, name)
	if err != nil {
		return err
	}
	return u.setRoot(a, QuotaRow{Root: b.ID, Limits: limits})
}

func (u *Unit) setRoot(a *Account, row QuotaRow) error {
	if err := u.Rows.PutQuota(a, row); err != nil {
		return fmt.Errorf("write quota: %w", err)
	}
	rows, err := u.quotas(a)
	if err != nil {
		return err
	}
	if len(rows) > index.MaxRoots {
		return index.ErrRoots
	}
	a.QuotaRoots = len(rows)
	a.dirty = true
	return nil
}

// dropRoot forgets the limits of a mailbox that goes.
func (u *Unit) dropRoot(b *Box) error {
	if b.Account.QuotaRoots == 0 {
		return nil
	}
	return u.setRoot(b.Account, QuotaRow{Root: b.ID})
}

// Recount makes the counters of an account what its entries say.
func (u *Unit) Recount(id mailbox.AccountID) (list []index.Difference, err error) {
	a, err := u.Account(id)
	if err != nil {
		return nil, err
	}
	boxes, err := u.allBoxes(a)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(boxes, func(a, b *Box) int { return cmp.Compare(a.Name, b.Name) })
	var messages, size int64
	for _, b := range boxes {
		is, err := u.countBox(b)
		if err != nil {
			return nil, fmt.Errorf("recount mailbox %d: %w", b.ID, err)
		}
		tell := func(counter string, was, is int64) {
			if was != is {
				list = append(list, index.Difference{Mailbox: b.ID, Name: b.Name, Counter: counter, Was: was, Is: is})
				b.dirty = true
			}
		}
		tell("messages", int64(b.Messages), int64(is.Messages))
		tell("unseen", int64(b.Unseen), int64(is.Unseen))
		tell("deleted", int64(b.Deleted), int64(is.Deleted))
		tell("size", b.Size, is.Size)
		b.Messages, b.Unseen, b.Deleted, b.Size = is.Messages, is.Unseen, is.Deleted, is.Size
		messages, size = messages+int64(is.Messages), size+is.Size
	}
	if a.Messages != messages {
		list = append(list, index.Difference{Counter: "messages", Was: a.Messages, Is: messages})
	}
	if a.Size != size {
		list = append(list, index.Difference{Counter: "size", Was: a.Size, Is: size})
	}
	if len(list) > 0 {
		// Readers that have the old counters are told of new ones.
		a.touch()
	}
	a.Messages, a.Size = messages, size
	return list, nil
}

// countBox counts a mailbox's entries.
func (u *Unit) countBox(b *Box) (is index.Mailbox, err error) {
	packed, err := u.chunksOf(b, mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}})
	if err != nil {
		return is, err
	}
	chunk := u.chunk()
	defer u.chunks.Put(chunk)
	for i := range packed {
		if err := chunk.Unpack(&packed[i]); err != nil {
			return is, err
		}
		for i := range chunk.Len() {
			is.Messages++
			is.Size += chunk.Sizes[i]
			if chunk.Flags[i]&mailbox.Seen == 0 {
				is.Unseen++
			}
			if chunk.Flags[i]&mailbox.Deleted != 0 {
				is.Deleted++
			}
		}
	}
	return is, nil
}

// watch notes that an account has passed a level that its owner is told of, or is below it again. It comes before every write
// of the account's row.
func (u *Unit) watch(a *Account) error {
	level := u.level(a)
	if level == a.QuotaLevel || len(u.QuotaLevels) == 0 {
		return nil
	}
	previous := a.QuotaLevel
	a.QuotaLevel = level
	if err := u.Rows.PutNotice(a, previous); err != nil {
		return fmt.Errorf("note level of quota: %w", err)
	}
	return nil
}

// level is the highest level that an account has passed.
func (s *Shared) level(a *Account) int {
	limits := s.limits(a)
	return limits.Level(s.QuotaLevels, a.QuotaLevel, index.Limits{Size: a.Size, Messages: a.Messages})
}

// TellQuota files a message that tells the owner of a level, and removes the notice.
func (u *Unit) TellQuota(n index.QuotaNotice, m index.Message) (r index.AppendResult, told bool, err error) {
	a, err := u.Account(n.Account)
	if err != nil {
		return r, false, err
	}
	level, found, err := u.Rows.Notice(a)
	if err != nil {
		return r, false, fmt.Errorf("read notice: %w", err)
	}
	if !found || level != n.Level {
		return r, false, nil
	}
	if err := u.Rows.DropNotice(a); err != nil {
		return r, false, fmt.Errorf("remove notice: %w", err)
	}
	r, err = u.Tell(a, m)
	return r, err == nil, err
}
