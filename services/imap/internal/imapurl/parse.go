// Package imapurl reads IMAP URLs (RFC 5092, with the forms of RFC 2192 that it kept) as CATENATE (RFC 4469) and URLAUTH
// (RFC 4467) use them: those of a message or a part of one.
package imapurl

import (
	"errors"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Max is the longest URL, octets.
const Max = 4096

// ErrBad is what is no URL of a message.
var ErrBad = errors.New("not an IMAP URL of a message")

// URL is an IMAP URL that names a message.
type URL struct {
	// Absolute tells of imap://; User and Host, with a port where it has one, are of such a one. An absolute path has neither.
	Absolute   bool
	User, Host string
	// Mailbox is empty where the URL is relative to the selected mailbox.
	Mailbox     string
	UIDValidity uint32 // 0: not told
	UID         uint32
	// Section is as in FETCH BODY[…].
	Section string
	// Partial tells that octets from Offset on are meant, Length of them or with 0 all.
	Partial        bool
	Offset, Length int64
	// Auth is what URLAUTH says, nil where there is none.
	Auth *Auth
}

// Auth is the authorization in a URL (RFC 4467 §3).
type Auth struct {
	// Expire is zero where the URL does not expire.
	Expire time.Time
	// Access is "anonymous", "authuser", "user+NAME" or "submit+NAME"; Name is that name.
	Access, Name string
	// Rump is the URL up to Access; Mechanism and Token follow it, and are empty where the URL is to be given them.
	Rump, Mechanism, Token string
}

// Parse reads a URL.
func Parse(text string) (*URL, error) {
	if len(text) > Max {
		return nil, ErrBad
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] >= 0x7f {
			return nil, ErrBad
		}
	}
	u := &URL{}
	rest := text
	if len(rest) >= 7 && strings.EqualFold(rest[:7], "imap://") {
		server, path, found := strings.Cut(rest[7:], "/")
		if !found || !u.server(server) {
			return nil, ErrBad
		}
		u.Absolute, rest = true, path
	} else {
		rest = strings.TrimPrefix(rest, "/")
	}
	at := strings.IndexByte(rest, ';')
	if at < 0 || strings.ContainsAny(rest[:at], "?#") {
		return nil, ErrBad
	}
	if !u.mailbox(rest[:at], rest[at:]) || !u.parameters(rest[at:], text) || u.UID == 0 {
		return nil, ErrBad
	}
	if u.Mailbox == "" && (u.Absolute || u.UIDValidity != 0 || strings.HasPrefix(text, "/")) {
		return nil, ErrBad
	}
	return u, nil
}

// server reads user, mechanism and host (RFC 5092 §3). The mechanism is of no concern to a server.
func (u *URL) server(text string) bool {
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		user, _, _ := strings.Cut(text[:i], ";")
		var ok bool
		if u.User, ok = decode(user); !ok {
			return false
		}
		text = text[i+1:]
	}
	u.Host = text
	return text != ""
}

func (u *URL) mailbox(text, behind string) bool {
	// The slash before ";UID=" is not the mailbox's.
	if len(behind) >= 5 && strings.EqualFold(behind[:5], ";UID=") {
		if text == "" {
			return true
		}
		var slash bool
		if text, slash = strings.CutSuffix(text, "/"); !slash {
			return false
		}
	}
	var ok bool
	u.Mailbox, ok = decode(text)
	return ok && u.Mailbox != ""
}

// order is in which order parameters come (RFC 5092 §11).
var order = []string{"UIDVALIDITY", "UID", "SECTION", "PARTIAL", "EXPIRE", "URLAUTH"}

// parameters reads ";NAME=value" and "/;NAME=value".
func (u *URL) parameters(rest, text string) bool {
	next := 0
	var auth Auth
	for rest != "" {
		slash := strings.HasPrefix(rest, "/")
		if slash {
			rest = rest[1:]
		}
		name, value, found := strings.Cut(strings.TrimPrefix(rest, ";"), "=")
		if !found || rest[0] != ';' {
			return false
		}
		name = strings.ToUpper(name)
		for next < len(order) && order[next] != name {
			next++
		}
		if next == len(order) {
			return false
		}
		next++
		rest = ""
		if i := strings.IndexByte(value, ';'); i >= 0 {
			if i > 0 && value[i-1] == '/' {
				i--
			}
			value, rest = value[:i], value[i:]
		}
		ok := false
		switch name {
		case "UIDVALIDITY":
			u.UIDValidity, ok = number(value)
		case "UID":
			u.UID, ok = number(value)
		case "SECTION":
			u.Section, ok = decode(value)
			ok = ok && slash && u.Section != ""
		case "PARTIAL":
			ok = slash && u.partial(value)
		case "EXPIRE":
			var err error
			auth.Expire, err = time.Parse(time.RFC3339, strings.ToUpper(value))
			ok = err == nil
		case "URLAUTH":
			ok = rest == "" && auth.read(value, text)
			u.Auth = &auth
		}
		if !ok {
			return false
		}
	}
	return auth.Expire.IsZero() || u.Auth != nil
}

// number reads a number above 0.
func number(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n > 0 && text[0] != '+'
}

func (u *URL) partial(text string) bool {
	from, length, has := strings.Cut(text, ".")
	n, err := strconv.ParseUint(from, 10, 63)
	if err != nil {
		return false
	}
	u.Partial, u.Offset = true, int64(n)
	if has {
		if n, err = strconv.ParseUint(length, 10, 63); err != nil || n == 0 || n > math.MaxInt64 {
			return false
		}
		u.Length = int64(n)
	}
	return true
}

// read reads what follows ";URLAUTH=" (RFC 4467 §3).
func (a *Auth) read(value, text string) bool {
	access, rest, verified := strings.Cut(value, ":")
	a.Rump = text[:len(text)-len(value)+len(access)]
	if verified {
		var ok bool
		if a.Mechanism, a.Token, ok = strings.Cut(rest, ":"); !ok || a.Mechanism == "" || len(a.Token) < 32 || strings.Trim(strings.ToLower(a.Token), "0123456789abcdef") != "" {
			return false
		}
		a.Mechanism = strings.ToUpper(a.Mechanism)
	}
	a.Access = strings.ToLower(access)
	switch a.Access {
	case "anonymous", "authuser":
		return true
	}
	kind, name, ok := strings.Cut(access, "+")
	kind = strings.ToLower(kind)
	if !ok || kind != "user" && kind != "submit" {
		return false
	}
	a.Name, ok = decode(name)
	a.Access = kind + "+" + a.Name
	return ok && a.Name != ""
}

// decode undoes percent-encoding: the outcome is UTF-8 without control characters.
func decode(text string) (string, bool) {
	out, err := url.PathUnescape(text)
	if err != nil || !utf8.ValidString(out) {
		return "", false
	}
	for i := range len(out) {
		if out[i] < ' ' || out[i] == 0x7f {
			return "", false
		}
	}
	return out, true
}
