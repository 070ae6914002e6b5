package imap

import (
	"time"

	"github.com/mailfarm/mailfarm/internal/presence"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// unauthenticate goes back to before the login (RFC 8437): the mailbox is left as it is, and what was enabled is not. TLS and
// compression stay.
func (s *session) unauthenticate(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	s.leave()
	s.unfollow()
	s.account, s.user = 0, ""
	s.card.Change(func(c *presence.State) { c.Account, c.User, c.Login = 0, "", time.Time{} })
	s.enabled = enabled{}
	s.log = s.stranger
	s.loginBy = time.Now().Add(s.svc.cfg.LoginTimeout)
	return okCode("CAPABILITY "+s.capabilities(), "logged out of the account"), nil
}
