package imapsource

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Login is who reads the mail.
type Login struct {
	// User is whose mail it is.
	User string
	// Password is the user's, or that of Master.
	Password string
	// Token, where it is set, is an OAuth2 access token, used in place of a password (RFC 7628, XOAUTH2).
	Token string
	// Master, where it is set, logs in for User: with Separator as "user*master" (Dovecot), without it by the authorization identity of
	// PLAIN (RFC 4616 §2), as Cyrus has it.
	Master, Separator string
}

// ErrLogin is a login that was refused: a repeat is of no use.
var ErrLogin = errors.New("login refused")

// Login logs in, tells who asks, and turns compression on.
func (c *Conn) Login(l Login) error {
	if err := c.login(l); err != nil {
		var refused *Refused
		if errors.As(err, &refused) && !strings.HasPrefix(refused.Code, "UNAVAILABLE") { // RFC 5530: that may be otherwise soon
			return fmt.Errorf("%w: %w", ErrLogin, err)
		}
		return err
	}
	if err := c.capability(); err != nil {
		return err
	}
	if c.Has("ID") { // RFC 2971; some servers serve only those who tell
		if err := c.command(`ID ("name" "mailfarm")`, nil); err != nil && !IsRefused(err) {
			return err
		}
	}
	return c.compress()
}

func (c *Conn) login(l Login) error {
	who, authz := l.User, ""
	switch {
	case l.Master != "" && l.Separator != "":
		who = l.User + l.Separator + l.Master
	case l.Master != "":
		who, authz = l.Master, l.User
	}
	switch {
	case l.Token != "" && c.Has("AUTH=OAUTHBEARER"):
		return c.authenticate("OAUTHBEARER", fmt.Sprintf("n,a=%s,\x01auth=Bearer %s\x01\x01", saslName(l.User), l.Token), "\x01")
	case l.Token != "" && c.Has("AUTH=XOAUTH2"):
		return c.authenticate("XOAUTH2", fmt.Sprintf("user=%s\x01auth=Bearer %s\x01\x01", l.User, l.Token), "")
	case l.Token != "":
		return fmt.Errorf("%w: the server takes no OAuth2 token (it offers neither AUTH=OAUTHBEARER nor AUTH=XOAUTH2)", ErrLogin)
	case c.Has("AUTH=PLAIN"):
		return c.authenticate("PLAIN", authz+"\x00"+who+"\x00"+l.Password, "")
	case authz != "":
		return fmt.Errorf("%w: the server has no AUTH=PLAIN, which a master user's login for another needs", ErrLogin)
	case c.Has("LOGINDISABLED"):
		return fmt.Errorf("%w: the server takes no password here (LOGINDISABLED): is TLS left out?", ErrLogin)
	}
	return c.plainLogin(who, l.Password)
}

// saslName is a name of GS2 (RFC 5801 §4).
func saslName(name string) string { return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(name) }

// authenticate runs a mechanism of one answer; refusal is what is said to a challenge that tells an error.
func (c *Conn) authenticate(mechanism, answer, refusal string) error {
	line := "AUTHENTICATE " + mechanism
	encoded := base64.StdEncoding.EncodeToString([]byte(answer))
	said := c.Has("SASL-IR") // RFC 4959
	if said {
		line += " " + encoded
	}
	tag, err := c.send(line)
	if err != nil {
		return err
	}
	for range 4 {
		if err := c.flush(); err != nil {
			return err
		}
		r, err := c.answer(tag)
		switch {
		case err != nil:
			return err
		case r.tag == tag && r.name == "OK":
			return nil
		case r.tag == tag:
			return &Refused{"AUTHENTICATE " + mechanism, r.name, r.code, r.text}
		}
		next := base64.StdEncoding.EncodeToString([]byte(refusal))
		if !said {
			next, said = encoded, true
		}
		if _, err := c.w.WriteString(next + "\r\n"); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: AUTHENTICATE does not end", errSyntax)
}

// answer reads up to what is meant for a command.
func (c *Conn) answer(tag string) (*response, error) {
	for {
		r, err := c.response(nil)
		if err != nil || r.tag == "+" || r.tag == tag {
			return r, err
		}
		if r.name == "BYE" {
			return nil, fmt.Errorf("the server hung up: %s", r.text)
		}
	}
}

// plainLogin is LOGIN, its arguments as literals: they may have any octet (RFC 3501 §4.3).
func (c *Conn) plainLogin(user, password string) error {
	tag, err := c.send(fmt.Sprintf("LOGIN {%d}", len(user)))
	if err != nil {
		return err
	}
	for _, next := range []string{fmt.Sprintf("%s {%d}\r\n", user, len(password)), password + "\r\n", ""} {
		if err := c.flush(); err != nil {
			return err
		}
		r, err := c.answer(tag)
		switch {
		case err != nil:
			return err
		case r.tag == tag && r.name == "OK":
			return nil
		case r.tag == tag:
			return &Refused{"LOGIN", r.name, r.code, r.text}
		}
		if _, err := c.w.WriteString(next); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: LOGIN does not end", errSyntax)
}
