package submission

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/smtpd"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

const (
	// authTimeout is how long the directory may take for one step; it slows failures on purpose.
	authTimeout = time.Minute
	// authService is what the directory counts logins as.
	authService = "smtp"
)

// Mechanisms.
const (
	plain     = "PLAIN"
	login     = "LOGIN"
	scram     = "SCRAM-SHA-256"
	scramPlus = "SCRAM-SHA-256-PLUS"
)

// What is offered, strongest first.
var (
	offerBound   = []string{scramPlus, scram, plain, login}
	offerUnbound = []string{scram, plain, login}
)

var (
	errMalformed = reply.Permanent(501, "5.5.2", "malformed response")
	errBusy      = reply.Transient(454, "4.7.0", "too many logins, try again later")
	errCrowd     = reply.Transient(454, "4.7.0", "too many connections to your account")
)

// AuthMechanisms offers nothing without TLS, but to plaintext networks.
func (s *session) AuthMechanisms() []string {
	switch {
	case s.conn.TLS() != nil && s.channelBinding() != nil:
		return offerBound
	case s.conn.TLS() != nil || s.s.plaintext.Contain(s.conn.RemoteAddr()):
		return offerUnbound
	}
	return nil
}

// channelBinding is tls-exporter (RFC 9266 §2); nil where the connection has none: TLS 1.2 without extended master secret.
func (s *session) channelBinding() []byte {
	state := s.conn.TLS()
	if state == nil || s.bound {
		return s.binding
	}
	s.bound = true
	if b, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32); err == nil {
		s.binding = b
	}
	return s.binding
}

// Auth begins an exchange.
func (s *session) Auth(ctx context.Context, mechanism string) (smtpd.Mechanism, error) {
	switch mechanism {
	case plain:
		return &plainExchange{s: s, ctx: ctx}, nil
	case login:
		return &loginExchange{s: s, ctx: ctx}, nil
	}
	return &scramExchange{s: s, ctx: ctx, mechanism: mechanism}, nil
}

// loggedIn remembers who it is, unless there are too many of the same account.
func (s *session) loggedIn(ctx context.Context, account uint64, address, mechanism string) error {
	if l := s.s.deps.Limits; l != nil {
		leave, ok := l.EnterAccount(s.conn.RemoteAddr(), account)
		if !ok {
			leave()
			return errCrowd
		}
		s.leave = leave
	}
	s.account, s.address, s.owned = mailbox.AccountID(account), address, ""
	s.s.deps.Log.LogAttrs(ctx, slog.LevelInfo, "logged in", obs.ConnID(s.conn.ID()),
		obs.Client(s.conn.Client()), obs.User(address), slog.String("mechanism", mechanism))
	return nil
}

// password asks the directory.
func (s *session) password(ctx context.Context, user, password, mechanism string) error {
	if !utf8.ValidString(user) || !utf8.ValidString(password) {
		return errMalformed // RFC 4616 §2
	}
	asking, cancel := context.WithTimeout(ctx, authTimeout)
	defer cancel()
	answer, err := s.s.deps.Directory.Login(asking, &directoryv1.LoginRequest{
		User: user, Password: password, Client: s.conn.Client(), Service: authService,
	})
	if err != nil {
		return authError(err)
	}
	return s.loggedIn(ctx, answer.GetAccount(), answer.GetAddress(), mechanism)
}

// authError is the reply for the directory's answer (RFC 4954 §6).
func authError(err error) error {
	switch status.Code(err) {
	case codes.Unauthenticated:
		return reply.Permanent(535, "5.7.8", "wrong user name or password").Because(err)
	case codes.InvalidArgument:
		return errMalformed.Because(err)
	case codes.ResourceExhausted:
		return errBusy.Because(err)
	}
	return fmt.Errorf("authenticate: %w", err) // no verdict: 454 4.7.0
}

// plainExchange is RFC 4616.
type plainExchange struct {
	s   *session
	ctx context.Context
}

func (x *plainExchange) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		return nil, false, nil
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 {
		return nil, false, errMalformed
	}
	if len(parts[0]) > 0 && !bytes.EqualFold(parts[0], parts[1]) {
		return nil, false, reply.Permanent(535, "5.7.8", "nobody can act for others here")
	}
	err := x.s.password(x.ctx, string(parts[1]), string(parts[2]), plain)
	return nil, err == nil, err
}

// loginExchange is what Outlook speaks (draft-murchison-sasl-login).
type loginExchange struct {
	s       *session
	ctx     context.Context
	user    string
	hasUser bool
}

func (x *loginExchange) Next(response []byte) ([]byte, bool, error) {
	switch {
	case response == nil:
		return []byte("Username:"), false, nil
	case !x.hasUser:
		x.user, x.hasUser = string(response), true
		return []byte("Password:"), false, nil
	}
	err := x.s.password(x.ctx, x.user, string(response), login)
	return nil, err == nil, err
}
