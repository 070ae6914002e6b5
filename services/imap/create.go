package imap

import (
	"strings"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// nameMax is the longest mailbox name, octets of UTF-8.
const nameMax = 1000

// specialUses are the attributes a mailbox can be made with (RFC 6154 §2, §3); \All and \Flagged would be views over others.
var specialUses = map[string]string{
	`\ARCHIVE`: `\Archive`, `\DRAFTS`: `\Drafts`, `\JUNK`: `\Junk`, `\SENT`: `\Sent`, `\TRASH`: `\Trash`,
}

// create makes a mailbox (RFC 9051 §6.3.4, RFC 6154 §3).
func (s *session) create(l *wire.Lexer) (reply, error) {
	l.Space()
	name := s.newName(l)
	var uses []string
	if l.Accept(' ') {
		l.List(func() {
			if string(l.Word()) != "USE" {
				l.Fail("unknown parameter")
				return
			}
			l.Space()
			l.List(func() { uses = append(uses, strings.ToUpper(string(l.Flag()))) })
		})
	}
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	use := ""
	if len(uses) > 0 {
		// One mailbox has one use here.
		if use = specialUses[uses[0]]; use == "" || len(uses) > 1 {
			return no("USEATTR", "special use not supported"), nil
		}
	}
	if r := checkName(name); r.status != "" {
		return r, nil
	}
	if r := s.svc.reserved(name); r.status != "" {
		return r, nil
	}
	at, err := s.locate(name)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Mailboxes.Create(ctx, &storev1.CreateRequest{
		Account: uint64(at.owner), Actor: uint64(s.account), Name: at.name, SpecialUse: use,
	})
	if err != nil {
		return reply{}, err
	}
	return okCode("MAILBOXID ("+mailbox.ObjectID('F', resp.GetMailbox().GetId())+")", ""), nil
}

// checkName refuses names that cannot be a mailbox's.
func checkName(name string) reply {
	switch {
	case name == "", strings.HasPrefix(name, separator), strings.HasSuffix(name, separator), strings.Contains(name, "//"),
		strings.ContainsAny(name, "*%"):
		return no("CANNOT", "not a name for a mailbox")
	case len(name) > nameMax:
		return no("LIMIT", "name too long")
	}
	return reply{}
}
