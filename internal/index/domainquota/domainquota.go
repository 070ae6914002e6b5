// Package domainquota is index.DomainQuotas over whatever database the rows are in: the limits of domains, which account
// belongs to which, and what they use in all. Its queries are of the subset of SQL that the databases share.
//
// There is no counter of a domain, which every write to any of its accounts would have to wait for: each account's row has its
// own, and unit.DomainSums adds what this process writes to a sum of them that it read a moment ago.
package domainquota

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/kept"
	"github.com/mailfarm/mailfarm/internal/index/unit"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// What an account's row tells of its domain: Columns of account a with Join, scanned into Fields.
const (
	Columns = `a.domain, COALESCE(dq.size, 0), COALESCE(dq.messages, 0), COALESCE(dq.each_size, 0), COALESCE(dq.each_messages, 0)`
	Join    = `LEFT JOIN domain_quota dq ON dq.domain = a.domain`
)

// Fields are where Columns go.
func Fields(d *unit.Domain) []any {
	return []any{&d.Name, &d.Limits.Size, &d.Limits.Messages, &d.Each.Size, &d.Each.Messages}
}

const (
	limits  = `SELECT domain, size, messages, each_size, each_messages, level FROM domain_quota`
	allRows = limits + ` ORDER BY domain`
	oneRow  = limits + ` WHERE domain = $1`
	anyRow  = `SELECT domain FROM domain_quota LIMIT 1`
	// Sum adds up the accounts of a domain, by the index of those that were placed.
	Sum    = `SELECT COUNT(*), COALESCE(SUM(size), 0), COALESCE(SUM(messages), 0) FROM account WHERE domain = $1 AND domain <> ''`
	placed = `SELECT domain FROM account WHERE account = $1`
	putRow = `INSERT INTO domain_quota (domain, size, messages, each_size, each_messages) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (domain)
		DO UPDATE SET size = excluded.size, messages = excluded.messages, each_size = excluded.each_size, each_messages = excluded.each_messages`
	dropRow  = `DELETE FROM domain_quota WHERE domain = $1`
	setLevel = `UPDATE domain_quota SET level = $1 WHERE domain = $2 AND level = $3`
)

// Store is index.DomainQuotas.
type Store struct {
	db   kept.DB
	sums *unit.DomainSums
}

var _ index.DomainQuotas = (*Store)(nil)

// New is the limits of domains in a database, whose units go by sums.
func New(db kept.DB, sums *unit.DomainSums) *Store { return &Store{db, sums} }

// Read reads what the accounts of domains use into sums.
func Read(ctx context.Context, db kept.DB, sums *unit.DomainSums, domains []string) error {
	slices.Sort(domains)
	for _, domain := range slices.Compact(domains) {
		reading := sums.Reading(domain)
		var q index.DomainQuota
		if err := db.ReadSQL(ctx, func(tx kept.SQL) error { return readSum(tx, domain, &q) }); err != nil {
			return fmt.Errorf("sum up domain %s: %w", domain, err)
		}
		reading.Set(index.Limits{Size: q.Size, Messages: q.Messages})
	}
	return nil
}

func readSum(tx kept.SQL, domain string, q *index.DomainQuota) error {
	return tx.Each(Sum, func(row unit.Scanner) error { return row.Scan(&q.Accounts, &q.Size, &q.Messages) }, domain)
}

// SetDomainQuota is index.DomainQuotas'.
func (s *Store) SetDomainQuota(ctx context.Context, domain string, limits, each index.Limits) error {
	err := s.db.WriteSQL(ctx, func(tx kept.SQL) (err error) {
		if none := (index.Limits{}); limits == none && each == none {
			_, err = tx.Exec(dropRow, domain)
		} else {
			_, err = tx.Exec(putRow, domain, limits.Size, limits.Messages, each.Size, each.Messages)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("set quota of domain %s: %w", domain, err)
	}
	return nil
}

// DomainQuotas is index.DomainQuotas'.
func (s *Store) DomainQuotas(ctx context.Context) (list []index.DomainQuota, err error) {
	err = s.db.ReadSQL(ctx, func(tx kept.SQL) error {
		list = nil
		if err := readLimits(tx, &list, allRows); err != nil {
			return err
		}
		for i := range list {
			if err := readSum(tx, list[i].Domain, &list[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read quotas of domains: %w", err)
	}
	return list, nil
}

func readLimits(tx kept.SQL, list *[]index.DomainQuota, query string, args ...any) error {
	return tx.Each(query, func(row unit.Scanner) error {
		var q index.DomainQuota
		err := row.Scan(&q.Domain, &q.Limits.Size, &q.Limits.Messages, &q.Each.Size, &q.Each.Messages, &q.Level)
		*list = append(*list, q)
		return err
	}, args...)
}

// DomainSums is index.DomainQuotas'.
func (s *Store) DomainSums(ctx context.Context, domains []string) (list []index.DomainQuota, err error) {
	names := slices.Clone(domains)
	slices.Sort(names)
	names = slices.Compact(names)
	err = s.db.ReadSQL(ctx, func(tx kept.SQL) error {
		list = nil
		for _, domain := range names {
			if err := readLimits(tx, &list, oneRow, domain); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read quotas of domains: %w", err)
	}
	for i := range list {
		q := &list[i]
		used, known := s.sums.Used(q.Domain, q.Limits)
		if !known {
			if err := Read(ctx, s.db, s.sums, []string{q.Domain}); err != nil {
				return nil, err
			}
			used, _ = s.sums.Used(q.Domain, q.Limits)
		}
		q.Size, q.Messages = used.Size, used.Messages
	}
	return list, nil
}

// Limited is index.DomainQuotas'.
func (s *Store) Limited(ctx context.Context) (any bool, err error) {
	err = s.db.ReadSQL(ctx, func(tx kept.SQL) error {
		any = false
		return tx.Each(anyRow, func(row unit.Scanner) error {
			var domain string
			any = true
			return row.Scan(&domain)
		})
	})
	if err != nil {
		return false, fmt.Errorf("look for quotas of domains: %w", err)
	}
	return any, nil
}

// Place is index.DomainQuotas'.
func (s *Store) Place(ctx context.Context, accounts map[mailbox.AccountID]string) (changed int, err error) {
	for _, id := range slices.Sorted(maps.Keys(accounts)) {
		domain := accounts[id]
		is, there := "", false
		err := s.db.ReadSQL(ctx, func(tx kept.SQL) error {
			is, there = "", false
			return tx.Each(placed, func(row unit.Scanner) error {
				there = true
				return row.Scan(&is)
			}, int64(id))
		})
		if err == nil && (!there && domain != "" || is != domain) {
			var moved bool
			moved, err = s.place(ctx, id, domain)
			if moved {
				changed++
			}
		}
		if errors.Is(err, index.ErrDropped) || errors.Is(err, index.ErrDropping) {
			continue
		}
		if err != nil {
			return changed, fmt.Errorf("place account %d in domain %s: %w", id, domain, err)
		}
	}
	return changed, nil
}

func (s *Store) place(ctx context.Context, id mailbox.AccountID, domain string) (changed bool, err error) {
	was := ""
	err = s.db.WriteAccount(ctx, id, func(u *unit.Unit, _ kept.SQL) error {
		a, err := u.Account(id)
		if err == nil {
			was, changed = u.Place(a, domain)
		}
		return err
	})
	if err == nil && changed {
		s.sums.Forget(was)
		s.sums.Forget(domain)
	}
	return changed && err == nil, err
}

// TellDomain is index.DomainQuotas'.
func (s *Store) TellDomain(ctx context.Context, q index.DomainQuota, level int, account mailbox.AccountID, m index.Message) (r index.AppendResult, told bool, err error) {
	note := func(tx kept.SQL) error {
		n, err := tx.Exec(setLevel, int64(level), q.Domain, int64(q.Level))
		told = n > 0
		return err
	}
	if account == 0 {
		err = s.db.WriteSQL(ctx, note)
	} else {
		err = s.db.WriteAccount(ctx, account, func(u *unit.Unit, tx kept.SQL) error {
			r = index.AppendResult{}
			a, err := u.Account(account)
			if err == nil {
				err = note(tx)
			}
			if err == nil && told {
				r, err = u.Tell(a, m)
			}
			return err
		})
	}
	if err != nil {
		return index.AppendResult{}, false, fmt.Errorf("tell of domain %s: %w", q.Domain, err)
	}
	return r, told, nil
}
