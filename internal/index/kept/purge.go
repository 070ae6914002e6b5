package kept

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

const (
	// purgeAgain is after how long an account that failed is tried again.
	purgeAgain = time.Hour

	purgeDue = `SELECT account FROM kept k WHERE (next_ns <= $1 OR octets > $2)
		AND NOT EXISTS (SELECT 1 FROM legal_hold h WHERE h.account = k.account)
		AND NOT EXISTS (SELECT 1 FROM dropping d WHERE d.account = k.account AND d.forgotten <> 0) ORDER BY next_ns LIMIT $3`
	purgeRow   = `DELETE FROM removed WHERE account = $1 AND mailbox = $2 AND mod_seq = $3 AND part = $4`
	purgeEmail = `DELETE FROM email WHERE account = $1 AND email = $2`
	purgeBoxes = `SELECT mailbox, name, special_use, removed_ns FROM removed_mailbox m WHERE account = $1
		AND NOT EXISTS (SELECT 1 FROM removed r WHERE r.account = m.account AND r.mailbox = m.mailbox)`
	purgeBox = `DELETE FROM removed_mailbox WHERE account = $1 AND mailbox = $2`
	// The list of a mailbox is kept with it; hints went when it was deleted.
	purgeACL   = `DELETE FROM acl WHERE account = $1 AND mailbox = $2`
	purgeNotes = `DELETE FROM annotation WHERE account = $1 AND mailbox = $2`
	lookAt     = `UPDATE kept SET next_ns = $2, entries = entries - $3, octets = octets - $4 WHERE account = $1`

	// What still names emails. Entries of mailboxes that are not there do: they are filed elsewhere once somebody has found them.
	namedByEntries = `SELECT emails FROM chunk WHERE account = $1`
	// Expunges of before there was removed.
	namedByTombstones = `SELECT emails FROM tombstone WHERE account = $1`
)

// Purge is index.Retention's.
func (s *Store) Purge(ctx context.Context, rules index.Rules, limit int) (purged index.Purged, more bool, err error) {
	most := int64(math.MaxInt64)
	if rules.MaxOctets > 0 {
		most = rules.MaxOctets
	}
	var accounts []mailbox.AccountID
	var own []index.RetentionRule
	err = s.db.ReadSQL(ctx, func(tx SQL) (err error) {
		accounts = nil
		if own, err = readRules(tx); err != nil {
			return err
		}
		return tx.Each(purgeDue, func(row unit.Scanner) error {
			var id int64
			err := row.Scan(&id)
			accounts = append(accounts, mailbox.AccountID(id))
			return err
		}, rules.Now.UnixNano(), most, int64(limit))
	})
	if err != nil {
		return purged, false, fmt.Errorf("find what was removed long ago: %w", err)
	}
	var errs []error
	again := false
	for _, id := range accounts {
		p, rest, err := s.purgeAccount(ctx, &rules, own, id)
		if err != nil {
			// It keeps nobody from the others, now or the next time.
			if !errors.Is(err, index.ErrNobody) {
				errs = append(errs, fmt.Errorf("purge account %d: %w", id, err))
			}
			if err := s.putOff(ctx, &rules, id); err != nil {
				return purged, false, errors.Join(append(errs, err)...)
			}
			continue
		}
		purged.Accounts++
		purged.Rows, purged.Entries, purged.Emails = purged.Rows+p.Rows, purged.Entries+p.Entries, purged.Emails+p.Emails
		again = again || rest
	}
	again = again || len(accounts) == limit && (purged.Accounts > 0 || len(errs) > 0)
	return purged, again, errors.Join(errs...)
}

// putOff leaves an account alone for a while.
func (s *Store) putOff(ctx context.Context, rules *index.Rules, id mailbox.AccountID) error {
	return wrap(fmt.Sprintf("put off account %d", id), s.db.WriteSQL(ctx, func(tx SQL) error {
		_, err := tx.Exec(lookAt, int64(id), rules.Now.Add(purgeAgain).UnixNano(), int64(0), int64(0))
		return err
	}))
}

// purgeAccount plans in a snapshot, and removes in steps of bounded size, so that all that names emails is looked through once
// for very many rows, and nobody waits for it. Where the account was written to since, a step plans for itself alone.
func (s *Store) purgeAccount(ctx context.Context, rules *index.Rules, own []index.RetentionRule, id mailbox.AccountID) (done index.Purged, more bool, err error) {
	p := &purge{rules: rules, own: own, account: id}
	p.asked = needsDomain(own)
	if rules.Domain != nil && p.asked {
		if p.domain, err = rules.Domain(ctx, id); err != nil {
			return done, false, err
		}
	}
	var pl *plan
	if err := s.db.ReadSQL(ctx, func(tx SQL) (err error) {
		p.tx = tx
		pl, err = p.makePlan(planRows, planEntries)
		return err
	}); err != nil {
		return done, false, err
	}
	for from := 0; ; {
		var step purgeStep
		err := s.db.WriteAccount(ctx, id, func(u *unit.Unit, tx SQL) (err error) {
			p.u, p.tx = u, tx
			step, err = p.run(pl, from)
			return err
		})
		if err != nil {
			return done, false, err
		}
		done.Rows, done.Entries, done.Emails = done.Rows+step.done.Rows, done.Entries+step.done.Entries, done.Emails+step.done.Emails
		if from = step.to; step.last {
			return done, step.more, nil
		}
	}
}

func needsDomain(own []index.RetentionRule) bool {
	for i := range own {
		if own[i].Account == 0 {
			return true
		}
	}
	return false
}

// purge is the purge of one account.
type purge struct {
	u       *unit.Unit
	tx      SQL
	rules   *index.Rules
	own     []index.RetentionRule
	account mailbox.AccountID
	domain  string
	// asked tells that domain was asked for.
	asked bool
}

// purgeStep is what one write does of a purge: up to which row of the plan it came, and whether it is the last one of the plan.
type purgeStep struct {
	to         int
	last, more bool
	done       index.Purged
}

// run does the step of a plan that begins with a row.
func (p *purge) run(pl *plan, from int) (step purgeStep, err error) {
	held, err := readHolds(p.tx, p.account)
	if err != nil || len(held) > 0 {
		return purgeStep{last: true}, err // set since it was looked for
	}
	// A rule that was set since it was looked for counts as well.
	if p.own, err = readRules(p.tx); err != nil {
		return step, err
	}
	if needsDomain(p.own) && !p.asked {
		return purgeStep{last: true, more: true}, nil // the next look asks for the domain
	}
	a, err := p.u.Account(p.account)
	if err != nil {
		return step, err
	}
	to := pl.next(from)
	if a.ModSeq != pl.modSeq || !p.holds(pl.rows[from:to]) {
		if pl, err = p.makePlan(purgeRows, purgeEntries); err != nil {
			return step, err
		}
		from, to = 0, len(pl.rows)
		step.last, step.more = true, pl.more
	} else {
		step.last, step.more = to == len(pl.rows), pl.more
	}
	step.to = to
	if err := p.remove(pl, from, to, &step); err != nil {
		return step, err
	}
	next := int64(0)
	if step.last && !step.more {
		if err := p.boxes(); err != nil {
			return step, err
		}
		next = p.rules.Now.Add(p.rules.Every).UnixNano()
	}
	var entries, octets int64
	for _, r := range pl.rows[from:to] {
		entries, octets = entries+r.entries, octets+r.octets
	}
	if _, err := p.tx.Exec(lookAt, int64(p.account), next, entries, octets); err != nil {
		return step, fmt.Errorf("note the look: %w", err)
	}
	return step, p.u.Step("purge.before-commit")
}

// holds tells whether rows are still to go by the rules of now.
func (p *purge) holds(rows []oldRow) bool {
	for _, r := range rows {
		if !r.over && !p.expired(r.removed, r.name, r.use) {
			return false
		}
	}
	return true
}

func (p *purge) expired(removed int64, folder, use string) bool {
	keep := p.rules.KeepFor(p.own, p.account, p.domain, folder, use)
	return p.rules.Now.Sub(time.Unix(0, removed)) > keep
}

// errPlan is a row that is not there any more: another has purged the account meanwhile.
var errPlan = errors.New("what is to be purged has changed")

// remove takes rows away, and then the emails that nothing names any more.
func (p *purge) remove(pl *plan, from, to int, step *purgeStep) error {
	if from == to {
		return nil
	}
	args := make([][]any, 0, to-from)
	for _, r := range pl.rows[from:to] {
		args = append(args, []any{int64(p.account), int64(r.Mailbox), int64(r.ModSeq), int64(r.Part)})
		step.done.Entries += int(r.entries)
	}
	rows, err := p.tx.ExecMany(purgeRow, args)
	if err != nil {
		return fmt.Errorf("remove rows: %w", err)
	}
	if rows != int64(len(args)) {
		return errPlan
	}
	if err := p.u.Step("purge.before-emails"); err != nil {
		return err
	}
	emails := map[mailbox.EmailID]bool{}
	begin, _ := slices.BinarySearchFunc(pl.emails, from, func(e oldEmail, row int) int { return cmp.Compare(e.row, row) })
	for _, e := range pl.emails[begin:] {
		if e.row >= to {
			break
		}
		emails[e.id] = true
	}
	n, err := DropEmails(p.tx, p.account, emails)
	step.done.Rows, step.done.Emails = int(rows), int(n)
	return err
}

// DropEmails removes emails that nothing names, and tells how many there were.
func DropEmails(tx SQL, account mailbox.AccountID, emails map[mailbox.EmailID]bool) (int64, error) {
	args := make([][]any, 0, len(emails))
	for e := range emails {
		args = append(args, []any{int64(account), int64(e)})
	}
	n, err := tx.ExecMany(purgeEmail, args)
	if err != nil {
		return n, fmt.Errorf("remove emails: %w", err)
	}
	return n, nil
}

// boxes ends the time of mailboxes of which nothing is kept any more.
func (p *purge) boxes() error {
	var gone [][]any
	if err := p.tx.Each(purgeBoxes, func(row unit.Scanner) error {
		var id, removed int64
		var name, use string
		err := row.Scan(&id, &name, &use, &removed)
		if err == nil && p.expired(removed, name, use) {
			gone = append(gone, []any{int64(p.account), id})
		}
		return err
	}, int64(p.account)); err != nil {
		return fmt.Errorf("read removed mailboxes: %w", err)
	}
	if len(gone) == 0 {
		return nil
	}
	if _, err := p.tx.ExecMany(purgeACL, gone); err != nil {
		return fmt.Errorf("forget access control lists: %w", err)
	}
	if _, err := p.tx.ExecMany(purgeNotes, gone); err != nil {
		return fmt.Errorf("forget annotations: %w", err)
	}
	_, err := p.tx.ExecMany(purgeBox, gone)
	return wrap("forget mailboxes", err)
}
