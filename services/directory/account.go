package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/credential"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// AddAccount makes an account. ALREADY_EXISTS, INVALID_ARGUMENT, FAILED_PRECONDITION where its domain is not ours.
func (s *Service) AddAccount(ctx context.Context, req *directoryv1.AddAccountRequest) (*directoryv1.AddAccountResponse, error) {
	addr, err := s.accountAddress(req.Address)
	if err != nil {
		return nil, err
	}
	password := req.Password
	if password == "" && req.Shared {
		password = rand.Text() // that nobody knows
	}
	cred, err := s.newCredential(password)
	if err != nil {
		return nil, err
	}
	a, err := s.putAccount(ctx, account.Add, addr, cred)
	if err != nil {
		return nil, err
	}
	if req.Shared {
		if err := s.store.SetShared(ctx, a.Address, true); err != nil {
			return nil, fmt.Errorf("account %s is added, but not marked as shared: %w", a.Address, err)
		}
		s.cache.drop()
	}
	s.log.InfoContext(ctx, "account added", obs.User(a.Address), obs.Account(a.ID))
	return &directoryv1.AddAccountResponse{Account: accountMessage(a)}, nil
}

// SetPassword gives an account another password: the old one is of no use from now on, and what was logged in with it is ended.
func (s *Service) SetPassword(ctx context.Context, req *directoryv1.SetPasswordRequest) (*directoryv1.SetPasswordResponse, error) {
	addr, err := account.ParseAddress(req.Address)
	if err != nil {
		return nil, invalid("account %q: %v", cut(req.Address), err)
	}
	cred, err := s.newCredential(req.Password)
	if err != nil {
		return nil, err
	}
	a, err := s.putAccount(ctx, account.Update, addr, cred)
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "password changed", obs.User(a.Address), obs.Account(a.ID))
	s.endChanged(ctx, a.ID)
	return &directoryv1.SetPasswordResponse{}, nil
}

// RemoveAccount removes an account: nobody can log in or send to it any more, and who is logged in is told to go. It is kept, and so is its mail, until the
// store's retention ends (RemovedAccounts); aliases that name it stay and bounce.
func (s *Service) RemoveAccount(ctx context.Context, req *directoryv1.RemoveAccountRequest) (*directoryv1.RemoveAccountResponse, error) {
	addr, err := account.ParseAddress(req.Address)
	if err != nil {
		return nil, invalid("account %q: %v", cut(req.Address), err)
	}
	id := s.idOf(ctx, addr.String())
	err = s.store.RemoveAccount(ctx, addr.String(), s.now())
	s.cache.drop()
	if errors.Is(err, account.ErrNotFound) {
		return nil, status.Errorf(codes.NotFound, "there is no account %s", addr)
	}
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "account removed", obs.User(addr.String()))
	s.endRemoved(ctx, id)
	return &directoryv1.RemoveAccountResponse{}, nil
}

// ListAccounts lists a domain's accounts, or all, by address.
func (s *Service) ListAccounts(ctx context.Context, req *directoryv1.ListAccountsRequest) (*directoryv1.ListAccountsResponse, error) {
	domain, err := filterDomain(req.Domain)
	if err != nil {
		return nil, err
	}
	accounts, err := s.store.ListAccounts(ctx, domain)
	if err != nil {
		return nil, err
	}
	resp := &directoryv1.ListAccountsResponse{Accounts: make([]*directoryv1.Account, len(accounts))}
	for i := range accounts {
		resp.Accounts[i] = accountMessage(&accounts[i])
	}
	return resp, nil
}

func accountMessage(a *account.Account) *directoryv1.Account {
	return &directoryv1.Account{Id: uint64(a.ID), Address: a.Address, CreatedNs: a.Created.UnixNano(), Disabled: a.Disabled}
}

// putAccount writes one account.
func (s *Service) putAccount(ctx context.Context, mode account.Mode, addr account.Address, cred credential.Credential) (*account.Account, error) {
	outcomes, err := s.store.PutAccounts(ctx, []account.Change{s.change(mode, addr, cred)})
	s.cache.drop()
	if err != nil {
		return nil, err
	}
	if err := explain(addr, outcomes[0].Err); err != nil {
		return nil, err
	}
	return &outcomes[0].Account, nil
}

func (s *Service) change(mode account.Mode, addr account.Address, cred credential.Credential) account.Change {
	now := s.now()
	return account.Change{Mode: mode, Account: account.Account{
		ID: mailbox.AccountID(s.ids.Next(now)), Address: addr.String(), Credential: cred.String(), Created: now,
	}}
}

// explain tells an operator what to do about an Outcome's error.
func explain(addr account.Address, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, account.ErrExists):
		return status.Errorf(codes.AlreadyExists, "account %s exists already; to change its password: mailfarm account passwd %s", addr, addr)
	case errors.Is(err, account.ErrNotFound):
		return status.Errorf(codes.NotFound, "there is no account %s; to make it: mailfarm account add %s", addr, addr)
	case errors.Is(err, account.ErrNoDomain):
		return noDomain(codes.FailedPrecondition, addr.Domain)
	case errors.Is(err, account.ErrIsAlias):
		return status.Errorf(codes.AlreadyExists, "%s is an alias: remove it first, as in: mailfarm alias remove %s", addr, addr)
	}
	return fmt.Errorf("put account %s: %w", addr, err)
}

// accountAddress reads an address that an account can have.
func (s *Service) accountAddress(text string) (account.Address, error) {
	addr, err := account.ParseAddress(text)
	if err != nil {
		return addr, invalid("account %q: %v", cut(text), err)
	}
	switch {
	case addr.Domain[0] == '[':
		return addr, invalid("account %q: an account cannot have an address literal for its domain", cut(text))
	case len(addr.Local) > account.MaxLocalLen:
		return addr, invalid("account %q: the local-part is longer than %d octets (RFC 5321 §4.5.3.1.1)", cut(text), account.MaxLocalLen)
	case s.roles[addr.Local]:
		return addr, invalid("%s is a role address (RFC 2142): make it an alias of whoever reads it, as in: mailfarm alias set %s someone@%s", addr, addr, addr.Domain)
	}
	return addr, nil
}

// newCredential checks a password and makes its keys.
func (s *Service) newCredential(password string) (credential.Credential, error) {
	switch n := utf8.RuneCountInString(password); {
	case slices.Contains(s.cfg.RefusedPasswords, password):
		return credential.Credential{}, invalid("everybody knows this password: choose another")
	case n < s.cfg.PasswordMinLength:
		return credential.Credential{}, invalid("the password has %d characters: use at least %d (password_min_length)", n, s.cfg.PasswordMinLength)
	case len(password) > credential.MaxPasswordLen:
		return credential.Credential{}, invalid("the password is longer than %d octets", credential.MaxPasswordLen)
	case strings.ContainsAny(password, "\x00\r\n"):
		return credential.Credential{}, invalid("the password has a line end or NUL in it, which no client can send")
	}
	cred, err := credential.NewSCRAM(password, s.cfg.SCRAMIterations)
	if err != nil {
		return cred, fmt.Errorf("make SCRAM keys: %w", err)
	}
	return cred, nil
}
