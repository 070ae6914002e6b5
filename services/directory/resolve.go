package directory

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/account"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// maxAddresses bounds one request.
const maxAddresses = 100_000

// maxRounds bounds how often the store is asked for one request, whatever happens to the cache meanwhile.
const maxRounds = 4

// postmaster is the one address that may come without a domain (RFC 5321 §4.1.1.3).
const postmaster = "postmaster"

// Resolve tells what each address is, one level deep: an account or alias by its whole local-part, an alias that holds in
// every domain, the same without the detail, then the domain's catch-all, which reads like an alias to its target.
// However many addresses, the store is asked at most once.
func (s *Service) Resolve(ctx context.Context, req *directoryv1.ResolveRequest) (*directoryv1.ResolveResponse, error) {
	if len(req.Addresses) > maxAddresses {
		return nil, status.Errorf(codes.InvalidArgument, "%d addresses in one request: at most %d", len(req.Addresses), maxAddresses)
	}
	resolutions, err := s.resolve(ctx, req.Addresses)
	if err != nil {
		return nil, err
	}
	for _, r := range resolutions {
		s.metrics.resolved[r.Kind].Inc()
	}
	return &directoryv1.ResolveResponse{Resolutions: resolutions}, nil
}

func (s *Service) resolve(ctx context.Context, addresses []string) ([]*directoryv1.Resolution, error) {
	epoch, err := s.cache.fresh(ctx)
	if err != nil {
		return nil, fmt.Errorf("resolve %d addresses: %w", len(addresses), err)
	}
	out := make([]*directoryv1.Resolution, len(addresses))
	var open []int // those that the cache cannot answer
	var missing []account.Key
	for i, a := range addresses {
		q := newQuestion(a, s.cfg.delimiters())
		var known bool
		if out[i], known = q.answer(s.cache.get); !known {
			open = append(open, i)
			missing = q.appendKeys(missing, s.cache.get)
		}
	}
	if len(open) == 0 {
		return out, nil
	}
	// What "postmaster" alone needs depends on the primary domain, so it may take a second round, once per version; and what
	// the cache knew a moment ago may be gone.
	found := make(map[account.Key]account.Record, len(missing))
	for round := 0; len(missing) > 0 && round < maxRounds; round++ {
		if err := s.cache.load(ctx, epoch, missing, found); err != nil {
			return nil, fmt.Errorf("resolve %d addresses: %w", len(addresses), err)
		}
		find := func(k account.Key) (account.Record, bool) {
			if r, known := found[k]; known {
				return r, true
			}
			return s.cache.get(k)
		}
		missing = missing[:0]
		still := open[:0]
		for _, i := range open {
			q := newQuestion(addresses[i], s.cfg.delimiters())
			var known bool
			if out[i], known = q.answer(find); !known {
				still = append(still, i)
				missing = q.appendKeys(missing, find)
			}
		}
		open = still
	}
	if len(open) > 0 {
		return nil, status.Error(codes.Unavailable, "the directory changed while it was read: try again")
	}
	return out, nil
}

// question is one address to be resolved.
type question struct {
	text  string
	addr  account.Address
	base  account.Address // without detail
	cut   string          // the detail
	plus  bool            // there is a detail
	bare  bool            // "postmaster" without a domain
	wrong bool            // not an address
}

func newQuestion(text, delimiters string) question {
	q := question{text: text}
	if strings.EqualFold(text, postmaster) {
		q.bare, q.addr.Local = true, postmaster
		return q
	}
	addr, err := account.ParseAddress(text)
	if err != nil {
		q.wrong = true
		return q
	}
	q.addr = addr
	q.base, q.cut, q.plus = addr.Detail(delimiters)
	return q
}

// answer works the resolution out of what find knows; known is false where find does not know enough.
func (q *question) answer(find func(account.Key) (account.Record, bool)) (r *directoryv1.Resolution, known bool) {
	if q.wrong {
		return &directoryv1.Resolution{Kind: directoryv1.Kind_KIND_INVALID, Address: q.text}, true
	}
	addr := q.addr
	var dom account.Record
	if q.bare {
		if dom, known = find(account.PrimaryDomain); !known {
			return nil, false
		}
		if dom.Domain == nil {
			return &directoryv1.Resolution{Kind: directoryv1.Kind_KIND_UNKNOWN, Address: postmaster}, true
		}
		addr.Domain = dom.Domain.Name
	} else if dom, known = find(account.DomainKey(addr.Domain)); !known {
		return nil, false
	}
	if dom.Domain == nil {
		// A stranger's spelling is a stranger's: the case of a local-part may matter there.
		return &directoryv1.Resolution{Kind: directoryv1.Kind_KIND_REMOTE, Address: q.text}, true
	}
	if r, known = match(addr, "", find); r != nil || !known {
		return r, known
	}
	if q.plus {
		if r, known = match(q.base, q.cut, find); r != nil || !known {
			return r, known
		}
	}
	if dom.Domain.CatchAll != "" {
		return &directoryv1.Resolution{Kind: directoryv1.Kind_KIND_ALIAS, Address: addr.String(), Targets: []string{dom.Domain.CatchAll}}, true
	}
	return &directoryv1.Resolution{Kind: directoryv1.Kind_KIND_UNKNOWN, Address: addr.String()}, true
}

// match finds an account or alias at addr, or an alias for its local-part in every domain.
func match(addr account.Address, detail string, find func(account.Key) (account.Record, bool)) (r *directoryv1.Resolution, known bool) {
	for i, k := range [...]account.Key{account.AddressKey(addr), account.BareKey(addr.Local)} {
		rec, known := find(k)
		switch {
		case !known:
			return nil, false
		case i == 0 && rec.Account != nil:
			return &directoryv1.Resolution{Kind: directoryv1.Kind_KIND_ACCOUNT, Account: uint64(rec.Account.ID), Address: rec.Account.Address, Detail: detail}, true
		case rec.Alias != nil:
			return &directoryv1.Resolution{Kind: directoryv1.Kind_KIND_ALIAS, Address: addr.String(), Detail: detail, Targets: rec.Alias.Targets}, true
		}
	}
	return nil, true
}

// appendKeys adds what find does not know of all that the answer can depend on.
func (q *question) appendKeys(keys []account.Key, find func(account.Key) (account.Record, bool)) []account.Key {
	addr := q.addr
	if q.bare {
		primary, known := find(account.PrimaryDomain)
		if !known {
			return append(keys, account.PrimaryDomain)
		}
		if primary.Domain == nil {
			return keys
		}
		addr.Domain = primary.Domain.Name
	}
	all := [5]account.Key{account.DomainKey(addr.Domain), account.AddressKey(addr), account.BareKey(addr.Local)}
	n := 3
	if q.plus {
		all[3], all[4] = account.AddressKey(q.base), account.BareKey(q.base.Local)
		n = 5
	}
	for _, k := range all[:n] {
		if _, known := find(k); !known {
			keys = append(keys, k)
		}
	}
	return keys
}
