package imap

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

const (
	// nameMax is the longest mailbox name, and levelMax the longest level of one, octets of UTF-8.
	nameMax  = 1000
	levelMax = 255
	// levelsMax is how many levels a name has at most.
	levelsMax = 20
)

// errManyLevels is a name of more than levelsMax levels, of a mailbox or of one below it.
var errManyLevels = no("LIMIT", "too many levels: a name has at most 20")

// errManyMailboxes is CREATE or RENAME in an account that has as many as it can have (RFC 5530 §3).
var errManyMailboxes = no("LIMIT", "the account has too many mailboxes: delete some first")

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
	if r := checkLevels(at.name); r.status != "" {
		return r, nil
	}
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Mailboxes.Create(ctx, &storev1.CreateRequest{
		Account: uint64(at.owner), Actor: uint64(s.account), Name: at.name, SpecialUse: use,
	})
	switch {
	case status.Code(err) == codes.ResourceExhausted:
		return errManyMailboxes, nil
	case use != "" && status.Code(err) == codes.AlreadyExists:
		return s.notMadeFor(at, use)
	case err != nil:
		return reply{}, err
	}
	s.made(name, at)
	return okCode("MAILBOXID ("+mailbox.ObjectID('F', resp.GetMailbox().GetId())+")", ""), nil
}

// notMadeFor tells why a mailbox with a special use was not made: there is one of that name, or one with that use, of which an
// account has one each (RFC 6154 §3).
func (s *session) notMadeFor(at place, use string) (reply, error) {
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Mailboxes.Find(ctx, &storev1.FindRequest{Account: uint64(at.owner), Actor: uint64(s.account), Names: []string{at.name}})
	if err != nil {
		return reply{}, err
	}
	if found := resp.GetFound(); len(found) == 1 && found[0].GetMailbox().GetId() != 0 {
		return no("ALREADYEXISTS", "mailbox exists already"), nil
	}
	return no("USEATTR", "another mailbox is "+use), nil
}

// checkName refuses names that cannot be a mailbox's.
func checkName(name string) reply {
	switch {
	case name == "", strings.HasPrefix(name, separator), strings.HasSuffix(name, separator), strings.Contains(name, "//"),
		strings.ContainsAny(name, "*%"):
		return no("CANNOT", "not a name for a mailbox")
	case len(name) > nameMax:
		return no("LIMIT", "name too long: it has at most 1000 octets")
	}
	return reply{}
}

// checkLevels refuses a name within an account that has too many levels, or one that is too long.
func checkLevels(name string) reply {
	if strings.Count(name, separator) >= levelsMax {
		return errManyLevels
	}
	for level := range strings.SplitSeq(name, separator) {
		if len(level) > levelMax {
			return no("LIMIT", "name too long: a level has at most 255 octets")
		}
	}
	return reply{}
}
