package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/pgdb"
)

const (
	allAccounts      = accountColumns + `ORDER BY address`
	accountsOfDomain = accountColumns + `WHERE domain = $1 ORDER BY address`
	addAccounts      = `INSERT INTO directory_account (id, address, domain, credential, version, created, disabled)
		SELECT a.id, a.address, a.domain, a.credential, $1, a.created, a.disabled
		FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::boolean[])
			AS a (id, address, domain, credential, created, disabled)`
	updateAccounts = `UPDATE directory_account d SET credential = a.credential, version = $1
		FROM unnest($2::bigint[], $3::text[]) AS a (id, credential) WHERE d.id = a.id`
)

// PutAccounts implements account.Store. The changes are read for together, made in memory in their order, and written
// together.
func (s *Store) PutAccounts(ctx context.Context, changes []account.Change) ([]account.Outcome, error) {
	var outcomes []account.Outcome
	err := s.write(ctx, func(tx *pgdb.Tx, version int64) error {
		p := &putting{version: version, standing: map[string]*standing{}, ours: map[string]bool{}, aliases: map[string]bool{}}
		if err := p.read(tx, changes); err != nil {
			return err
		}
		outcomes = make([]account.Outcome, len(changes))
		for i := range changes {
			outcomes[i] = p.put(&changes[i])
		}
		return p.write(tx)
	})
	if err != nil {
		return nil, fmt.Errorf("put %d accounts: %w", len(changes), err)
	}
	return outcomes, nil
}

// putting is a batch of changes on its way.
type putting struct {
	version int64
	// standing are accounts by address; ours and aliases are which of the changes' domains and addresses there are.
	standing      map[string]*standing
	ours, aliases map[string]bool
	// changed are the accounts to be written, each once.
	changed []*standing
}

type standing struct {
	account.Account
	// added tells that this batch makes it, updated that it writes its credential.
	added, updated bool
}

func (p *putting) read(tx *pgdb.Tx, changes []account.Change) error {
	addresses, domains := make([]string, len(changes)), make([]string, len(changes))
	for i := range changes {
		addresses[i], domains[i] = changes[i].Account.Address, changes[i].Account.Domain()
	}
	b := &pgx.Batch{}
	queueAccounts(b, func(a *account.Account) { p.standing[a.Address] = &standing{Account: *a} }, accountsByAddress, addresses)
	queueDomains(b, func(d *account.Domain) { p.ours[d.Name] = true }, domainsByName, domains)
	queueAliases(b, func(a *account.Alias) { p.aliases[a.Address] = true }, aliasesByAddress, addresses)
	return tx.Run(b)
}

// put makes one change in memory.
func (p *putting) put(c *account.Change) account.Outcome {
	a := c.Account
	old := p.standing[a.Address]
	switch {
	case old == nil && c.Mode == account.Update:
		return account.Outcome{Err: account.ErrNotFound}
	case old == nil && !p.ours[a.Domain()]:
		return account.Outcome{Err: account.ErrNoDomain}
	case old == nil && p.aliases[a.Address]:
		return account.Outcome{Err: account.ErrIsAlias}
	case old == nil:
		a.Version = uint64(p.version)
		s := &standing{Account: a, added: true}
		p.standing[a.Address], p.changed = s, append(p.changed, s)
		return account.Outcome{Account: a, Added: true}
	case c.Mode == account.Add:
		return account.Outcome{Account: old.Account, Err: account.ErrExists}
	}
	if !old.added && !old.updated {
		old.updated = true
		p.changed = append(p.changed, old)
	}
	old.Credential, old.Version = a.Credential, uint64(p.version)
	return account.Outcome{Account: old.Account}
}

// write adds and updates accounts.
func (p *putting) write(tx *pgdb.Tx) error {
	var added, updated struct {
		ids, created                    []int64
		addresses, domains, credentials []string
		disabled                        []bool
	}
	for _, s := range p.changed {
		if s.updated {
			updated.ids, updated.credentials = append(updated.ids, int64(s.ID)), append(updated.credentials, s.Credential)
			continue
		}
		added.ids, added.created = append(added.ids, int64(s.ID)), append(added.created, s.Created.UnixNano())
		added.addresses, added.domains = append(added.addresses, s.Address), append(added.domains, s.Domain())
		added.credentials, added.disabled = append(added.credentials, s.Credential), append(added.disabled, s.Disabled)
	}
	b := &pgx.Batch{}
	if len(updated.ids) > 0 {
		b.Queue(updateAccounts, p.version, updated.ids, updated.credentials)
	}
	if len(added.ids) > 0 {
		b.Queue(addAccounts, p.version, added.ids, added.addresses, added.domains, added.credentials, added.created, added.disabled)
	}
	return tx.Run(b)
}

// ListAccounts implements account.Store.
func (s *Store) ListAccounts(ctx context.Context, domain string) ([]account.Account, error) {
	var accounts []account.Account
	b := &pgx.Batch{}
	each := func(a *account.Account) { accounts = append(accounts, *a) }
	if domain == "" {
		queueAccounts(b, each, allAccounts)
	} else {
		queueAccounts(b, each, accountsOfDomain, domain)
	}
	if err := s.read(ctx, b); err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	return accounts, nil
}
