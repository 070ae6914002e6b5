package imap

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/presence"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// serviceName is what directory counts our logins under.
const serviceName = "imap"

// login takes name and password (RFC 9051 §6.2.3).
func (s *session) login(l *wire.Lexer) (reply, error) {
	l.Space()
	user := string(l.AString())
	l.Space()
	password := string(l.AString())
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if !s.mayLogin() {
		return no("PRIVACYREQUIRED", "TLS is required to log in"), nil
	}
	return s.passwordLogin("LOGIN", user, password), nil
}

// passwordLogin asks directory.
func (s *session) passwordLogin(mechanism, user, password string) reply {
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Directory.Login(ctx, &directoryv1.LoginRequest{
		User: user, Password: password, Client: s.client.String(), Service: serviceName,
	})
	if err != nil {
		return s.loginFailed(mechanism, user, err)
	}
	return s.loggedIn(mechanism, resp.GetAccount(), resp.GetAddress())
}

// loggedIn begins the authenticated state.
func (s *session) loggedIn(mechanism string, account uint64, address string) reply {
	s.account, s.user = mailbox.AccountID(account), address
	s.loginBy = time.Time{}
	s.card.Change(func(c *presence.State) { c.Account, c.User, c.Login = account, address, s.svc.deps.Now() })
	s.failed = 0
	s.svc.metrics.logins.WithLabelValues(mechanism, "ok").Inc()
	s.log = s.log.With(obs.User(address))
	s.log.Info("logged in", obs.Reason(mechanism))
	return okCode("CAPABILITY "+s.capabilities(), "logged in")
}

// loginFailed tells of a wrong name and a wrong password alike, and of a directory that is away otherwise.
func (s *session) loginFailed(mechanism, user string, err error) reply {
	switch status.Code(err) {
	case codes.Unauthenticated, codes.PermissionDenied, codes.NotFound, codes.InvalidArgument:
		s.svc.metrics.logins.WithLabelValues(mechanism, "no").Inc()
		s.log.Info("login failed", obs.User(user), obs.Reason(mechanism))
		if s.failed++; s.failed >= s.svc.cfg.MaxFailedLogins {
			s.answer(no("AUTHENTICATIONFAILED", "wrong name or password"))
			s.bye("too many failed logins")
			return reply{silent: true, status: statusNo}
		}
		return no("AUTHENTICATIONFAILED", "wrong name or password")
	case codes.ResourceExhausted:
		s.svc.metrics.logins.WithLabelValues(mechanism, "slowed").Inc()
		return no("LIMIT", "too many attempts, try again later")
	}
	s.svc.metrics.logins.WithLabelValues(mechanism, "error").Inc()
	return s.replyFor(err)
}
