package imap

import (
	"strings"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// The session's own mailboxes may have names that belong to a namespace of others: an import made them, or the operator chose
// the prefix later. Nobody makes new ones, and those that are there are shown with one "_" more behind the prefix: a mailbox
// "Shared/Old" is the client's "Shared_/Old", and one "Shared_" is "Shared__", so that each has a name and no two have one.
const aside = "_"

// behind finds the prefix that a name has, what follows the "_" behind it, and how many these are. found is false for a name
// that only begins alike: "Sharedness".
func (c *Config) behind(name string) (prefix, rest string, marks int, found bool) {
	for _, prefix := range []string{c.OtherUsersPrefix, c.SharedPrefix} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			below := strings.TrimLeft(rest, aside)
			if below == "" || strings.HasPrefix(below, separator) {
				return prefix, below, len(rest) - len(below), true
			}
		}
	}
	return "", "", 0, false
}

// shownName is what a client calls one of the session's own mailboxes.
func (s *Service) shownName(name string) string {
	if s.deps.Sharing == nil {
		return name
	}
	if prefix, rest, marks, found := s.cfg.behind(name); found {
		return prefix + strings.Repeat(aside, marks+1) + rest
	}
	return name
}

// storedName is what the store calls the mailbox that a client calls name, which is in no namespace of others.
func (s *Service) storedName(name string) string {
	if s.deps.Sharing == nil {
		return name
	}
	if prefix, rest, marks, found := s.cfg.behind(name); found && marks > 0 {
		return prefix + strings.Repeat(aside, marks-1) + rest
	}
	return name
}

// show gives own mailboxes their clients' names. Names of others' mailboxes among them are subscriptions to these.
func (s *Service) show(boxes []*storev1.Mailbox) []*storev1.Mailbox {
	for _, m := range boxes {
		if _, rest, marks, found := s.cfg.behind(m.GetName()); found && (m.GetExists() || marks > 0 || rest == "") {
			m.Name = s.shownName(m.GetName())
		}
	}
	return boxes
}

// reserved refuses a name for a new mailbox: one of the session's own that would be behind a prefix, and one in a namespace
// of others that is no mailbox's.
func (s *Service) reserved(name string) reply {
	if s.deps.Sharing == nil {
		return reply{}
	}
	_, rest, marks, found := s.cfg.behind(name)
	if !found || marks == 0 && strings.Contains(strings.TrimPrefix(rest, separator), separator) {
		return reply{}
	}
	return no("CANNOT", "this name is kept for mailboxes of others")
}
