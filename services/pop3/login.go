package pop3

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/presence"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

// serviceName is how the directory counts our logins.
const serviceName = "pop3"

// userName takes the name; whether there is such a user is nobody's business yet (RFC 1939 §7).
func (c *session) userName(args []byte) result {
	if len(args) == 0 {
		return c.out.misused("which user?")
	}
	if !c.mayLogin() {
		return c.out.fail("", "TLS is needed to log in: STLS first")
	}
	c.user = string(args)
	return c.out.ok("and the password?")
}

// pass takes the password, which is all that follows the space, other spaces included.
func (c *session) pass(args []byte) result {
	if !c.mayLogin() {
		return c.out.fail("", "TLS is needed to log in: STLS first")
	}
	if c.user == "" {
		return c.out.misused("USER first")
	}
	user := c.user
	c.user = ""
	return c.passwordLogin("USER", user, string(args))
}

// passwordLogin asks the directory and opens the maildrop.
func (c *session) passwordLogin(mechanism, user, password string) result {
	if !utf8.ValidString(user) || !utf8.ValidString(password) {
		// RFC 6856 §2.2 lets names and passwords be UTF-8; in any other charset none was ever set.
		return c.loginFailed(mechanism, status.Error(codes.Unauthenticated, "not UTF-8"))
	}
	folder := ""
	if sep := c.svc.cfg.FolderSeparator; sep != "" {
		user, folder, _ = strings.Cut(user, sep)
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.svc.cfg.LoginTimeout)
	defer cancel()
	resp, err := c.svc.deps.Directory.Login(ctx, &directoryv1.LoginRequest{User: user, Password: password, Client: c.client.String(), Service: serviceName})
	if err != nil {
		return c.loginFailed(mechanism, err)
	}
	return c.loggedIn(mechanism, resp.GetAccount(), resp.GetAddress(), folder)
}

// loginFailed answers an error of the directory.
func (c *session) loginFailed(mechanism string, err error) result {
	switch status.Code(err) {
	case codes.Unauthenticated, codes.InvalidArgument:
		c.svc.metrics.logins.WithLabelValues(mechanism, "wrong").Inc()
		c.failedLogins++
		if c.failedLogins >= c.svc.cfg.MaxFailedLogins {
			c.hangUp("too many failed logins")
		}
		return c.out.fail("AUTH", "wrong user name or password")
	case codes.ResourceExhausted:
		c.svc.metrics.logins.WithLabelValues(mechanism, "refused").Inc()
		c.hangUp("login refused")
		return c.out.fail("SYS/TEMP", "too many failed logins, try again later")
	}
	c.svc.metrics.logins.WithLabelValues(mechanism, "failed").Inc()
	c.log.LogAttrs(c.ctx, slog.LevelWarn, "login not possible", obs.Error(err))
	return c.out.fail("SYS/TEMP", "cannot check passwords right now, try again")
}

// loggedIn opens the maildrop: the TRANSACTION state begins with it.
func (c *session) loggedIn(mechanism string, account uint64, address, folder string) result {
	if folder == "" || strings.EqualFold(folder, inbox) {
		folder = inbox
	}
	d, err := openMaildrop(c, account, address, norm.NFC.String(folder))
	switch {
	case errors.Is(err, errInUse):
		c.svc.metrics.logins.WithLabelValues(mechanism, "in_use").Inc()
		c.log.LogAttrs(c.ctx, slog.LevelInfo, "maildrop in use", obs.User(address))
		return c.out.fail("IN-USE", "another session has this maildrop")
	case errors.Is(err, errTooSoon):
		c.svc.metrics.logins.WithLabelValues(mechanism, "too_soon").Inc()
		c.log.LogAttrs(c.ctx, slog.LevelInfo, "login comes too soon", obs.User(address))
		return c.out.fail("LOGIN-DELAY", "come again later")
	case errors.Is(err, errNoFolder) && folder != inbox:
		c.svc.metrics.logins.WithLabelValues(mechanism, "no_folder").Inc()
		return c.out.fail("SYS/PERM", "no such folder")
	case err != nil:
		c.svc.metrics.logins.WithLabelValues(mechanism, "failed").Inc()
		c.log.LogAttrs(c.ctx, slog.LevelWarn, "maildrop not opened", obs.User(address), obs.Error(err))
		return c.out.fail("SYS/TEMP", "cannot open the maildrop right now, try again")
	}
	c.svc.metrics.logins.WithLabelValues(mechanism, "ok").Inc()
	c.drop = d
	c.card.Change(func(s *presence.State) { s.Account, s.User, s.Login, s.Folder = account, address, time.Now(), inbox })
	c.log = c.log.With(obs.User(address))
	c.log.LogAttrs(c.ctx, slog.LevelDebug, "logged in", slog.String("mechanism", mechanism), obs.Count(len(d.messages)))
	b := append(c.out.take(), "+OK "...)
	b = numbers(b, int64(d.left), d.size)
	c.out.give(append(b, " octets\r\n"...))
	return good
}
