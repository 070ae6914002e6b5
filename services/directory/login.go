package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/account"
	"github.com/mailfarm/mailfarm/internal/credential"
	"github.com/mailfarm/mailfarm/internal/obs"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// maxUserLen bounds a user name, octets.
const maxUserLen = account.MaxAddressLen

// errCredentials is the one answer to a wrong name and to a wrong password.
var errCredentials = status.Error(codes.Unauthenticated, "wrong user name or password")

// Login checks a password. UNAUTHENTICATED for a wrong name, a wrong password and a disabled account alike, after the same
// work; RESOURCE_EXHAUSTED where too many failed before and too many wait already: the front-end should hang up.
func (s *Service) Login(ctx context.Context, req *directoryv1.LoginRequest) (*directoryv1.LoginResponse, error) {
	a, err := s.login(ctx, req.User, req.Password, req.Client, req.Service)
	if err != nil {
		return nil, err
	}
	return &directoryv1.LoginResponse{Account: uint64(a.ID), Address: a.Address}, nil
}

func (s *Service) login(ctx context.Context, user, password, client, service string) (*account.Account, error) {
	a, name, err := s.userAccount(ctx, user)
	if err != nil {
		return nil, s.failed(ctx, user, client, service, err)
	}
	if a != nil && !a.Disabled && s.logins.has(a, password, s.now()) {
		s.metrics.logins.WithLabelValues(serviceLabel(service), loginCached).Inc()
		return a, nil
	}
	cred, usable, err := s.credentialOf(ctx, a, name)
	if err != nil {
		return nil, s.failed(ctx, user, client, service, err)
	}
	attempt, err := s.throttle.begin(ctx, name, clientNetwork(client))
	if err != nil {
		return nil, s.failed(ctx, user, client, service, err)
	}
	good := false
	defer func() { attempt.end(good) }()
	// Who waited may find that the same login was right meanwhile: a thousand connections of one client cost one look.
	good = usable && s.logins.has(a, password, s.now()) || cred.Verify(password) && usable
	if !good {
		s.guessed(ctx, name, password, client)
		return nil, s.failed(ctx, user, client, service, errCredentials)
	}
	s.logins.add(a, password, s.now())
	s.succeeded(ctx, a, client, service)
	return a, nil
}

// userAccount finds the account that logs in: nil where there is none. A name without a domain is in the primary one.
// name is what failures are counted by.
func (s *Service) userAccount(ctx context.Context, user string) (a *account.Account, name string, err error) {
	if len(user) > maxUserLen {
		return nil, strings.ToLower(user[:maxUserLen]), nil
	}
	addr, err := account.ParseAddress(user)
	if err != nil {
		local, err := account.ParseLocal(user)
		if err != nil {
			return nil, strings.ToLower(user), nil
		}
		primary, err := s.cache.lookup(ctx, account.PrimaryDomain)
		if err != nil {
			return nil, "", fmt.Errorf("find the primary domain: %w", err)
		}
		if primary.Domain == nil {
			return nil, local, nil
		}
		addr = account.Address{Local: local, Domain: primary.Domain.Name}
	}
	r, err := s.cache.lookup(ctx, account.AddressKey(addr))
	if err != nil {
		return nil, "", fmt.Errorf("find account %s: %w", addr, err)
	}
	return r.Account, addr.String(), nil
}

// credentialOf is what to compare with: of an account that may log in its own, else a made-up one that costs the same and
// that nothing matches; usable is false then.
func (s *Service) credentialOf(ctx context.Context, a *account.Account, name string) (c credential.Credential, usable bool, err error) {
	if a != nil {
		if c, err = credential.Parse(a.Credential); err != nil {
			return c, false, fmt.Errorf("read the credential of %s: %w", a.Address, err)
		}
		return c, !a.Disabled, nil
	}
	c, err = s.fake(ctx, name)
	return c, false, err
}

func (s *Service) fake(ctx context.Context, name string) (credential.Credential, error) {
	secret, err := s.store.Secret(ctx)
	if err != nil {
		return credential.Credential{}, fmt.Errorf("read the directory's secret: %w", err)
	}
	return credential.Fake(secret, name, s.cfg.SCRAMIterations), nil
}

func (s *Service) succeeded(ctx context.Context, a *account.Account, client, service string) {
	s.metrics.logins.WithLabelValues(serviceLabel(service), loginGood).Inc()
	s.log.DebugContext(ctx, "logged in", obs.User(a.Address), obs.Account(a.ID), obs.Client(client))
}

// failed counts, logs and names the error of a login.
func (s *Service) failed(ctx context.Context, user, client, service string, err error) error {
	result := loginFailed
	switch {
	case errors.Is(err, errCredentials):
		result = loginWrong
		s.log.InfoContext(ctx, "login failed", obs.User(cut(user)), obs.Client(client), obs.Reason("wrong user name or password"))
	case errors.Is(err, errSlowed), errors.Is(err, errBusy):
		result = loginRefused
		s.log.InfoContext(ctx, "login refused", obs.User(cut(user)), obs.Client(client), obs.Reason(err.Error()))
		err = status.Error(codes.ResourceExhausted, err.Error()+": try again later")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		err = status.FromContextError(err).Err()
	}
	s.metrics.logins.WithLabelValues(serviceLabel(service), result).Inc()
	return err
}

// cut keeps a stranger's text short in the log.
func cut(text string) string {
	if len(text) > 128 {
		return strings.ToValidUTF8(text[:128], "") + "…"
	}
	return text
}
