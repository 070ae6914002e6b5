package kept

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	// planRows and planEntries bound a plan, and so its memory: some 100 octets a row and 40 an entry. One look through all
	// that names emails serves so many.
	planRows    = 1 << 17
	planEntries = 1 << 19
	// purgeRows and purgeEntries are how many one write removes, so that mail gets in between; of entries at least one row's.
	purgeRows    = 1024
	purgeEntries = 1 << 14
	// purgePage is how many rows are looked at in one go.
	purgePage = 512

	// Of rows, oldest first. The first bound on mod_seq says what the second implies, so that a page begins where it is to.
	purgeLook = `SELECT mod_seq, mailbox, part, removed_ns, name, special_use, entries, octets FROM removed
		WHERE account = $1 AND mod_seq >= $2 AND (mod_seq > $3 OR mod_seq = $4 AND (mailbox > $5 OR mailbox = $6 AND part > $7))
		ORDER BY mod_seq, mailbox, part LIMIT $8`
	purgeSeq   = `SELECT mod_seq, messages FROM account WHERE account = $1`
	purgeNames = `SELECT mod_seq, mailbox, part, kind, emails FROM removed WHERE account = $1`
)

// oldRow is a row of removed without its entries.
type oldRow struct {
	index.RowID
	removed         int64
	name, use       string
	entries, octets int64
	// over: it goes for the room, not for its age.
	over bool
}

// oldEmail goes with a row.
type oldEmail struct {
	row int
	id  mailbox.EmailID
}

// plan is what is to go of an account, as of a MODSEQ: as long as that is the account's, nothing has been named that was not.
type plan struct {
	modSeq mailbox.ModSeq
	// messages is how many entries the account counts.
	messages int64
	// rows are in their order.
	rows []oldRow
	// emails are those that nothing but rows names, each with the last of those that does, in the order of these.
	emails []oldEmail
	// more tells that there are other rows.
	more bool
}

// makePlan finds at most rows and entries whose time has come, the oldest first, and the emails that go with them.
func (p *purge) makePlan(rows, entries int) (*plan, error) {
	pl := &plan{}
	var seq int64
	if err := p.tx.Each(purgeSeq, func(row unit.Scanner) error { return row.Scan(&seq, &pl.messages) }, int64(p.account)); err != nil {
		return nil, fmt.Errorf("read account: %w", err)
	}
	pl.modSeq = mailbox.ModSeq(seq)
	if err := p.choose(pl, rows, int64(entries)); err != nil || len(pl.rows) == 0 {
		return pl, err
	}
	return pl, p.findEmails(pl)
}

// choose finds the rows.
func (p *purge) choose(pl *plan, rows int, entries int64) error {
	var kept index.Kept
	if err := p.tx.Each(keptOf, func(row unit.Scanner) error { return row.Scan(&kept.Entries, &kept.Octets) }, int64(p.account)); err != nil {
		return fmt.Errorf("read sums: %w", err)
	}
	over := int64(0)
	if p.rules.MaxOctets > 0 {
		over = kept.Octets - p.rules.MaxOctets
	}
	after := index.RowID{Part: -1}
	for {
		var page []oldRow
		err := p.tx.Each(purgeLook, func(row unit.Scanner) error {
			var r oldRow
			var seq, box, part int64
			err := row.Scan(&seq, &box, &part, &r.removed, &r.name, &r.use, &r.entries, &r.octets)
			r.RowID = index.RowID{ModSeq: mailbox.ModSeq(seq), Mailbox: mailbox.ID(box), Part: int(part)}
			page = append(page, r)
			return err
		}, int64(p.account), int64(after.ModSeq), int64(after.ModSeq), int64(after.ModSeq), int64(after.Mailbox), int64(after.Mailbox), int64(after.Part), int64(purgePage))
		if err != nil {
			return fmt.Errorf("read what was removed: %w", err)
		}
		for _, r := range page {
			if !p.expired(r.removed, r.name, r.use) {
				if over <= 0 || r.octets == 0 {
					continue
				}
				r.over = true
			}
			if entries -= r.entries; len(pl.rows) == rows || entries < 0 && len(pl.rows) > 0 {
				pl.more = true
				return nil
			}
			over -= r.octets
			pl.rows = append(pl.rows, r)
		}
		if len(page) < purgePage {
			return nil
		}
		after = page[len(page)-1].RowID
	}
}

// findEmails goes through all that names emails, twice what was removed: the rows' emails first, then what else names them.
//
// What was only moved lies elsewhere, or was removed from there and that has come to its end. Where entries are missing it may
// be that they are those, and then it stays: the check for damage files it.
func (p *purge) findEmails(pl *plan) error {
	last := make(map[mailbox.EmailID]int32) // twice the row's place, and 1 where not all was moved
	each := func(do func(at int, kind index.Kind, ids []mailbox.EmailID)) error {
		var ids []mailbox.EmailID
		return p.tx.Each(purgeNames, func(row unit.Scanner) error {
			var seq, box, part, kind int64
			var b []byte
			err := row.Scan(&seq, &box, &part, &kind, &b)
			if err == nil {
				ids, err = mailbox.AllEmails(ids[:0], b)
			}
			if err == nil {
				do(pl.at(index.RowID{ModSeq: mailbox.ModSeq(seq), Mailbox: mailbox.ID(box), Part: int(part)}), index.Kind(kind), ids)
			}
			return err
		}, int64(p.account))
	}
	if err := each(func(at int, kind index.Kind, ids []mailbox.EmailID) {
		if at < 0 {
			return
		}
		removed := int32(0)
		if kind != index.Moved {
			removed = 1
		}
		for _, e := range ids {
			was := last[e]
			last[e] = max(was>>1, int32(at))<<1 | was&1 | removed
		}
	}); err != nil {
		return fmt.Errorf("read emails: %w", err)
	}
	named := func(ids []mailbox.EmailID) {
		for _, e := range ids {
			delete(last, e)
		}
	}
	if err := each(func(at int, _ index.Kind, ids []mailbox.EmailID) {
		if at < 0 {
			named(ids)
		}
	}); err != nil {
		return fmt.Errorf("read what names emails: %w", err)
	}
	if err := eachEmails(p.tx, named, namedByTombstones, int64(p.account)); err != nil {
		return fmt.Errorf("read what names emails: %w", err)
	}
	entries := int64(0)
	if err := eachEmails(p.tx, func(ids []mailbox.EmailID) {
		entries += int64(len(ids))
		named(ids)
	}, namedByEntries, int64(p.account)); err != nil {
		return fmt.Errorf("read what names emails: %w", err)
	}
	pl.emails = make([]oldEmail, 0, len(last))
	for id, row := range last {
		if row&1 == 1 || entries == pl.messages {
			pl.emails = append(pl.emails, oldEmail{int(row >> 1), id})
		}
	}
	slices.SortFunc(pl.emails, func(a, b oldEmail) int { return cmp.Or(cmp.Compare(a.row, b.row), cmp.Compare(a.id, b.id)) })
	return nil
}

// at is a row's place in the plan, -1 for one that is not in it.
func (pl *plan) at(id index.RowID) int {
	if i, found := slices.BinarySearchFunc(pl.rows, id, func(r oldRow, id index.RowID) int { return compareRows(r.RowID, id) }); found {
		return i
	}
	return -1
}

// next tells behind which row the write ends that begins with one.
func (pl *plan) next(from int) int {
	entries := int64(0)
	for to := from; ; to++ {
		if to == len(pl.rows) || to-from == purgeRows {
			return to
		}
		if entries += pl.rows[to].entries; to > from && entries > purgeEntries {
			return to
		}
	}
}

// compareRows is the order of rows: by age.
func compareRows(a, b index.RowID) int {
	return cmp.Or(cmp.Compare(a.ModSeq, b.ModSeq), cmp.Compare(a.Mailbox, b.Mailbox), cmp.Compare(a.Part, b.Part))
}
