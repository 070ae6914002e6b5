package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

const (
	// peopleFor is for how long it is remembered who somebody is: a change of groups counts after it.
	peopleFor = 10 * time.Second
	// peopleMax bounds how many are remembered.
	peopleMax = 10_000
	// peopleAsked is how many one call of the directory asks for.
	peopleAsked = 100
)

// people remembers who the accounts are that have something to do with others' mailboxes.
type people struct {
	service *Service
	mu      sync.Mutex
	known   map[mailbox.AccountID]person // guarded by mu
}

// person is an account, nobody where address is empty.
type person struct {
	address string
	shared  bool
	groups  []string
	until   time.Time
}

// find tells who accounts are.
func (p *people) find(ctx context.Context, ids ...mailbox.AccountID) (map[mailbox.AccountID]person, error) {
	now := p.service.deps.Now()
	found := make(map[mailbox.AccountID]person, len(ids))
	var ask []uint64
	p.mu.Lock()
	for _, id := range ids {
		if one, ok := p.known[id]; ok && now.Before(one.until) {
			found[id] = one
		} else {
			ask = append(ask, uint64(id))
		}
	}
	p.mu.Unlock()
	for len(ask) > 0 {
		part := ask[:min(len(ask), peopleAsked)]
		ask = ask[len(part):]
		resp, err := p.service.deps.Directory.Identify(ctx, &directoryv1.IdentifyRequest{Accounts: part})
		if err != nil {
			return nil, fmt.Errorf("ask who %d accounts are: %w", len(part), err)
		}
		p.mu.Lock()
		if len(p.known)+len(part) > peopleMax {
			clear(p.known)
		}
		for i, v := range resp.GetByAccount() {
			one := person{address: v.GetAddress(), shared: v.GetShared(), groups: v.GetGroups(), until: now.Add(peopleFor)}
			id := mailbox.AccountID(part[i])
			found[id], p.known[id] = one, one
		}
		p.mu.Unlock()
	}
	return found, nil
}

// identifiers are those by which lists name an account; none for one that is not there.
func (p *people) identifiers(ctx context.Context, id mailbox.AccountID) ([]string, error) {
	found, err := p.find(ctx, id)
	if err != nil || found[id].address == "" {
		return []string{}, err
	}
	return acl.Of(id, found[id].groups), nil
}

// read turns an identifier that somebody wrote into the one that is stored. INVALID_ARGUMENT for what is nobody.
func (p *people) read(ctx context.Context, text string) (string, error) {
	kind, name, negative, err := acl.ReadIdentifier(text)
	if err != nil {
		return "", invalid("%v", err)
	}
	var out string
	switch kind {
	case acl.KindAnyone:
		out = acl.Anyone
	case acl.KindAuthenticated:
		out = acl.Authenticated
	case acl.KindGroup:
		resp, err := p.service.deps.Directory.Identify(ctx, &directoryv1.IdentifyRequest{Groups: []string{name}})
		if err != nil {
			return "", fmt.Errorf("look for group: %w", err)
		}
		if len(resp.GetGroups()) != 1 || resp.GetGroups()[0] == "" {
			return "", invalid("there is no group %q", name)
		}
		out = acl.Group(resp.GetGroups()[0])
	case acl.KindUser:
		resp, err := p.service.deps.Directory.Identify(ctx, &directoryv1.IdentifyRequest{Addresses: []string{name}})
		if err != nil {
			return "", fmt.Errorf("look for account: %w", err)
		}
		if len(resp.GetByAddress()) != 1 || resp.GetByAddress()[0].GetAccount() == 0 {
			return "", invalid("there is no account %q", name)
		}
		out = acl.User(mailbox.AccountID(resp.GetByAddress()[0].GetAccount()))
	}
	if negative {
		out = acl.Negative(out)
	}
	return out, nil
}
