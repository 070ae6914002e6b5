package imap

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/imapurl"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

const (
	// urlsMax is how many URLs one command names.
	urlsMax = 100
	// urlMechanism is the one there is (RFC 4467 §2.4), and tokenKind begins its tokens, should there be others one day.
	urlMechanism = "INTERNAL"
	tokenKind    = "01"
)

// errNoURLAuth is URLAUTH where it is not offered.
var errNoURLAuth = no("CANNOT", "URLs are not authorized here")

// token authorizes a URL up to what it says who may use it (RFC 4467 §2.3).
func token(key []byte, rump string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(rump))
	return tokenKind + hex.EncodeToString(h.Sum(nil))
}

// genURLAuth authorizes URLs of the session's own mailboxes (RFC 4467 §7 GENURLAUTH).
func (s *session) genURLAuth(l *wire.Lexer) (reply, error) {
	var urls []string
	for first := true; first || !l.AtEnd(); first = false {
		l.Space()
		text := string(l.AString())
		l.Space()
		if mechanism := string(l.Word()); l.Err() == nil && mechanism != urlMechanism {
			l.Fail("unknown mechanism")
		}
		if urls = append(urls, text); len(urls) > urlsMax {
			l.Fail("too many URLs")
		}
		if l.Err() != nil {
			return reply{}, l.Err()
		}
	}
	out := make([]string, len(urls))
	for i, text := range urls {
		u, err := imapurl.Parse(text)
		if err != nil || !u.Absolute || u.User != s.user || u.Auth == nil || u.Auth.Mechanism != "" {
			return badURL(text), nil
		}
		key, err := s.ownKey(u)
		if err != nil {
			return reply{}, orBadURL(err, text)
		}
		out[i] = text + ":" + urlMechanism + ":" + token(key, u.Auth.Rump)
	}
	b := append(s.out.Take(), "* GENURLAUTH"...)
	for _, text := range out {
		b = wire.AppendString(append(b, ' '), text, false)
	}
	s.out.Give(append(b, "\r\n"...))
	return reply{}, nil
}

// ownKey is the key of a URL's mailbox, which is the session's own.
func (s *session) ownKey(u *imapurl.URL) ([]byte, error) {
	if s.svc.deps.Keys == nil {
		return nil, errNoURLAuth
	}
	n, err := s.urlMailbox(u)
	if err != nil {
		return nil, err
	}
	if n.owner != s.account {
		return nil, no("NOPERM", "not your mailbox")
	}
	return s.keyOf(n, true)
}

func (s *session) keyOf(n *node, make bool) ([]byte, error) {
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Keys.GetMailboxKey(ctx, &storev1.GetMailboxKeyRequest{Account: uint64(n.owner), Mailbox: n.GetId(), Make: make})
	return resp.GetKey(), err
}

// resetKey makes all URLs void that were authorized for a mailbox, or for all (RFC 4467 §7 RESETKEY).
func (s *session) resetKey(l *wire.Lexer) (reply, error) {
	req := &storev1.ResetMailboxKeyRequest{Account: uint64(s.account)}
	name := ""
	if l.Accept(' ') {
		name = s.mailboxName(l)
		for l.Accept(' ') {
			if string(l.Word()) != urlMechanism {
				l.Fail("unknown mechanism")
			}
		}
	}
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if s.svc.deps.Keys == nil {
		return errNoURLAuth, nil
	}
	if name != "" {
		n, err := s.mailbox(name)
		if err != nil {
			return reply{}, err
		}
		if n.owner != s.account {
			return no("NOPERM", "not your mailbox"), nil
		}
		req.Mailbox = n.GetId()
	}
	ctx, cancel := s.call()
	defer cancel()
	if _, err := s.svc.deps.Keys.ResetMailboxKey(ctx, req); err != nil {
		return reply{}, err
	}
	return okCode("URLMECH "+urlMechanism, ""), nil
}

// urlFetch tells what authorized URLs name, and NIL of others (RFC 4467 §7 URLFETCH).
func (s *session) urlFetch(l *wire.Lexer) (reply, error) {
	var urls []string
	for first := true; first || !l.AtEnd(); first = false {
		l.Space()
		if urls = append(urls, string(l.AString())); len(urls) > urlsMax {
			l.Fail("too many URLs")
		}
		if l.Err() != nil {
			return reply{}, l.Err()
		}
	}
	for _, text := range urls {
		if err := s.fetchURL(text); err != nil {
			return reply{}, err
		}
	}
	return reply{}, nil
}

// fetchURL answers for one URL. Its error is a matter of the moment.
func (s *session) fetchURL(text string) error {
	section, err := s.authorized(text)
	head := func() {
		s.out.Give(append(wire.AppendString(append(s.out.Take(), "* URLFETCH "...), text, false), ' '))
	}
	if err != nil {
		if r, ok := orBadURL(err, text).(reply); !ok || !strings.HasPrefix(r.code, "BADURL") {
			return err
		}
		head()
		s.out.Str("NIL\r\n")
		return nil
	}
	defer section.close()
	head()
	section.m.literal("{", section.size())
	if err := section.copy(func(p []byte) { s.out.Write(p) }); err != nil {
		section.m.breakOff(&section.d, err)
		return err
	}
	s.out.Str("\r\n")
	return nil
}

// authorized opens what a URL names if the URL is authorized for this session.
func (s *session) authorized(text string) (*urlSection, error) {
	u, err := imapurl.Parse(text)
	switch {
	case s.svc.deps.Keys == nil:
		return nil, errNoURLAuth
	case err != nil, !u.Absolute, u.User == "", u.Auth == nil, u.Auth.Mechanism != urlMechanism,
		!u.Auth.Expire.IsZero() && !u.Auth.Expire.After(s.svc.deps.Now()), !s.mayUse(u.Auth):
		return nil, errNoMailbox
	}
	name, ok := wire.DecodeMailbox([]byte(u.Mailbox), true)
	if !ok {
		return nil, errNoMailbox
	}
	owner := s.account
	if u.User != s.user {
		if s.svc.deps.Identities == nil {
			return nil, errNoMailbox
		}
		who, err := s.whose(u.User)
		if err != nil {
			return nil, err
		}
		if owner = mailbox.AccountID(who.GetAccount()); owner == 0 {
			return nil, errNoMailbox
		}
	}
	n, err := s.findOf(owner, name)
	if err != nil {
		return nil, err
	}
	key, err := s.keyOf(n, false)
	if status.Code(err) == codes.NotFound {
		return nil, errNoMailbox
	}
	if err != nil {
		return nil, err
	}
	if !hmac.Equal([]byte(token(key, u.Auth.Rump)), []byte(strings.ToLower(u.Auth.Token))) {
		return nil, errNoMailbox
	}
	return s.openAs(owner, n, u)
}

// mayUse tells whether this session is among those that a URL is for (RFC 4467 §3). None acts for a submission server.
func (s *session) mayUse(a *imapurl.Auth) bool {
	switch a.Access {
	case "anonymous", "authuser":
		return true
	}
	return a.Access == "user+"+s.user
}

// findOf finds a mailbox of somebody who has authorized a URL of it.
func (s *session) findOf(owner mailbox.AccountID, name string) (*node, error) {
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Mailboxes.Find(ctx, &storev1.FindRequest{Account: uint64(owner), Actor: uint64(owner), Names: []string{name}})
	if err != nil {
		return nil, err
	}
	if f := resp.GetFound(); len(f) == 1 && f[0].GetMailbox() != nil {
		return &node{Mailbox: f[0].GetMailbox(), owner: owner}, nil
	}
	return nil, errNoMailbox
}
