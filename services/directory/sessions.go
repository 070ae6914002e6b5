package directory

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// idOf finds the id of an account's address; 0: there is none, or it is not known now.
func (s *Service) idOf(ctx context.Context, address string) mailbox.AccountID {
	records, err := s.store.Lookup(ctx, []account.Key{account.Key(address)})
	if err != nil || len(records) != 1 || records[0].Account == nil {
		return 0
	}
	return records[0].Account.ID
}

// endRemoved ends what a removed account has open.
func (s *Service) endRemoved(ctx context.Context, id mailbox.AccountID) {
	if s.sessions == nil || id == 0 {
		return
	}
	if err := s.sessions.Removed(id); err != nil {
		s.log.WarnContext(ctx, "sessions not ended", obs.Account(id), obs.Error(err))
	}
}

// endChanged ends what accounts have open that have another password now.
func (s *Service) endChanged(ctx context.Context, ids ...mailbox.AccountID) {
	if s.sessions == nil || len(ids) == 0 {
		return
	}
	if err := s.sessions.PasswordChanged(ids...); err != nil {
		s.log.WarnContext(ctx, "sessions not ended", obs.Account(ids[0]), obs.Count(len(ids)), obs.Error(err))
	}
}

// credentials are those that accounts have before they are changed, by address; nil where they are not known.
func (s *Service) credentials(ctx context.Context, changes []account.Change) map[string]string {
	if s.sessions == nil {
		return nil
	}
	keys := make([]account.Key, len(changes))
	for i := range changes {
		keys[i] = account.Key(changes[i].Account.Address)
	}
	records, err := s.store.Lookup(ctx, keys)
	if err != nil {
		return nil
	}
	had := make(map[string]string, len(records))
	for _, r := range records {
		if r.Account != nil {
			had[r.Account.Address] = r.Account.Credential
		}
	}
	return had
}
