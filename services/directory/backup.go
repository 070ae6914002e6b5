package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// backups serves directoryv1.Backups.
type backups struct {
	directoryv1.UnimplementedBackupsServer
	s *Service
}

const (
	// dumpPage is how many records one response carries.
	dumpPage = 500
	// maxLoad is how many records one Load takes.
	maxLoad = 1000
)

// Dump tells domains, what was removed, accounts, aliases and groups: each needs what comes before it.
func (b *backups) Dump(_ *directoryv1.DumpRequest, out grpc.ServerStreamingServer[directoryv1.DumpResponse]) error {
	ctx, store := out.Context(), b.s.store
	resp := &directoryv1.DumpResponse{}
	send := func(r *directoryv1.Record) error {
		if resp.Records = append(resp.Records, r); len(resp.Records) < dumpPage {
			return nil
		}
		full := resp
		resp = &directoryv1.DumpResponse{}
		return out.Send(full)
	}
	domains, err := store.Domains(ctx)
	if err != nil {
		return err
	}
	for _, d := range domains {
		err = errors.Join(err, send(&directoryv1.Record{What: &directoryv1.Record_Domain{Domain: &directoryv1.Domain{Name: d.Name, CatchAll: d.CatchAll}}}))
	}
	removed, e := store.RemovedAccounts(ctx)
	if err = errors.Join(err, e); err != nil {
		return err
	}
	for _, r := range removed {
		err = errors.Join(err, send(accountRecord(&r.Account, false, r.Removed.UnixNano())))
	}
	accounts, e := store.ListAccounts(ctx, "")
	if err = errors.Join(err, e); err != nil {
		return err
	}
	for part := range slices.Chunk(accounts, dumpPage) {
		ids := make([]mailbox.AccountID, len(part))
		for i := range part {
			ids[i] = part[i].ID
		}
		// A list need not tell credentials.
		whole, err := store.Accounts(ctx, ids)
		if err != nil {
			return err
		}
		who, err := store.Identities(ctx, ids)
		if err != nil {
			return err
		}
		for i, a := range whole {
			if a == nil {
				continue // removed meanwhile
			}
			if err := send(accountRecord(a, who[i].Shared, 0)); err != nil {
				return err
			}
		}
	}
	aliases, err := store.ListAliases(ctx, "")
	if err != nil {
		return err
	}
	for _, a := range aliases {
		err = errors.Join(err, send(&directoryv1.Record{What: &directoryv1.Record_Alias{Alias: &directoryv1.Alias{Address: a.Address, Targets: a.Targets}}}))
	}
	groups, e := store.ListGroups(ctx)
	if err = errors.Join(err, e); err != nil {
		return err
	}
	for _, g := range groups {
		err = errors.Join(err, send(&directoryv1.Record{What: &directoryv1.Record_Group{Group: &directoryv1.Group{Name: g.Name, Members: g.Members}}}))
	}
	if err != nil {
		return err
	}
	return out.Send(resp)
}

func accountRecord(a *account.Account, shared bool, removed int64) *directoryv1.Record {
	return &directoryv1.Record{What: &directoryv1.Record_Account{Account: &directoryv1.StoredAccount{
		Id: uint64(a.ID), Address: a.Address, Credential: a.Credential, CreatedNs: a.Created.UnixNano(), Disabled: a.Disabled, Shared: shared, RemovedNs: removed,
	}}}
}

// Load puts records back.
func (b *backups) Load(ctx context.Context, req *directoryv1.LoadRequest) (*directoryv1.LoadResponse, error) {
	if len(req.GetRecords()) > maxLoad {
		return nil, invalid("%d records, more than %d", len(req.GetRecords()), maxLoad)
	}
	defer b.s.cache.drop()
	resp := &directoryv1.LoadResponse{}
	for _, r := range req.GetRecords() {
		o, err := b.load(ctx, r)
		if err != nil {
			return nil, err
		}
		resp.Outcomes = append(resp.Outcomes, o)
	}
	return resp, nil
}

func (b *backups) load(ctx context.Context, r *directoryv1.Record) (*directoryv1.LoadOutcome, error) {
	switch what := r.GetWhat().(type) {
	case *directoryv1.Record_Domain:
		return outcome(b.s.store.AddDomain(ctx, account.Domain{Name: what.Domain.GetName(), CatchAll: what.Domain.GetCatchAll(), Created: b.s.now()}))
	case *directoryv1.Record_Account:
		if what.Account.GetId() == 0 || what.Account.GetId() >= 1<<63 {
			return nil, invalid("account %d is none", what.Account.GetId())
		}
		return b.loadAccount(ctx, what.Account)
	case *directoryv1.Record_Alias:
		return b.loadAlias(ctx, what.Alias)
	case *directoryv1.Record_Group:
		return b.loadGroup(ctx, what.Group)
	}
	return nil, invalid("record of no kind")
}

// outcome tells what became of something that is added where it is not there.
func outcome(err error) (*directoryv1.LoadOutcome, error) {
	switch {
	case err == nil:
		return &directoryv1.LoadOutcome{Added: true}, nil
	case errors.Is(err, account.ErrExists):
		return &directoryv1.LoadOutcome{}, nil
	}
	for _, known := range []error{account.ErrNoDomain, account.ErrIsAlias, account.ErrIsAccount, account.ErrNotFound, account.ErrInUse} {
		if errors.Is(err, known) {
			return &directoryv1.LoadOutcome{Conflict: known.Error()}, nil
		}
	}
	return nil, err
}

func (b *backups) loadAccount(ctx context.Context, a *directoryv1.StoredAccount) (*directoryv1.LoadOutcome, error) {
	id := mailbox.AccountID(a.GetId())
	there, err := b.s.store.Accounts(ctx, []mailbox.AccountID{id})
	if err != nil {
		return nil, err
	}
	if there[0] != nil {
		o := &directoryv1.LoadOutcome{}
		if there[0].Address != a.GetAddress() {
			o.Conflict = fmt.Sprintf("its id belongs to %s", there[0].Address)
		}
		return o, nil
	}
	removed, err := b.s.store.RemovedAccounts(ctx)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(removed, func(r account.Removed) bool { return r.ID == id }) {
		if a.GetRemovedNs() != 0 {
			return &directoryv1.LoadOutcome{}, nil
		}
		return b.outcomeOf(ctx, a, b.s.store.RestoreAccount(ctx, id, a.GetAddress()))
	}
	outcomes, err := b.s.store.PutAccounts(ctx, []account.Change{{Mode: account.Add, Account: account.Account{
		ID: id, Address: a.GetAddress(), Credential: a.GetCredential(), Created: time.Unix(0, a.GetCreatedNs()), Disabled: a.GetDisabled()}}})
	if err != nil {
		return nil, err
	}
	if o, err := b.outcomeOf(ctx, a, outcomes[0].Err); err != nil || !o.Added {
		return o, err
	}
	if a.GetRemovedNs() != 0 {
		err = b.s.store.RemoveAccount(ctx, a.GetAddress(), time.Unix(0, a.GetRemovedNs()))
	} else if a.GetShared() {
		err = b.s.store.SetShared(ctx, a.GetAddress(), true)
	}
	if err != nil {
		return nil, err
	}
	return &directoryv1.LoadOutcome{Added: true}, nil
}

// outcomeOf is outcome where the same name means another account, unless another restore brought this very one back meanwhile.
func (b *backups) outcomeOf(ctx context.Context, a *directoryv1.StoredAccount, err error) (*directoryv1.LoadOutcome, error) {
	if !errors.Is(err, account.ErrExists) {
		return outcome(err)
	}
	there, err := b.s.store.Accounts(ctx, []mailbox.AccountID{mailbox.AccountID(a.GetId())})
	if err != nil {
		return nil, err
	}
	if there[0] != nil && there[0].Address == a.GetAddress() {
		return &directoryv1.LoadOutcome{}, nil
	}
	return &directoryv1.LoadOutcome{Conflict: "there is another account of this address"}, nil
}

func (b *backups) loadAlias(ctx context.Context, a *directoryv1.Alias) (*directoryv1.LoadOutcome, error) {
	found, err := b.s.store.Lookup(ctx, []account.Key{account.Key(a.GetAddress())})
	if err != nil {
		return nil, err
	}
	if is := found[0].Alias; is != nil {
		o := &directoryv1.LoadOutcome{}
		if !slices.Equal(is.Targets, a.GetTargets()) {
			o.Conflict = "the alias has other targets"
		}
		return o, nil
	}
	return outcome(b.s.store.SetAlias(ctx, account.Alias{Address: a.GetAddress(), Targets: a.GetTargets()}))
}

// loadGroup adds those members that are accounts.
func (b *backups) loadGroup(ctx context.Context, g *directoryv1.Group) (*directoryv1.LoadOutcome, error) {
	has, err := b.s.store.HasGroup(ctx, g.GetName())
	if err != nil {
		return nil, err
	}
	if err := b.s.store.AddToGroup(ctx, g.GetName(), nil); err != nil {
		return nil, err
	}
	o := &directoryv1.LoadOutcome{Added: !has}
	for part := range slices.Chunk(g.GetMembers(), account.MaxMembers) {
		err := b.s.store.AddToGroup(ctx, g.GetName(), part)
		if errors.Is(err, account.ErrNotFound) {
			o.Conflict = "a member is no account: " + err.Error()
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	return o, nil
}
