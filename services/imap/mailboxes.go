package imap

import (
	"slices"
	"strings"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// separator is between the levels of a name.
const separator = "/"

// node is a name in the list of an account's mailboxes.
type node struct {
	*storev1.Mailbox
	// owner is whose mailbox it is; the name is the client's.
	owner mailbox.AccountID
	// children tells that existing mailboxes lie below.
	children bool
	// below tells that names with the selected property lie below (RFC 5258 §3.5 CHILDINFO).
	below bool
}

// mailboxes asks for the account's mailboxes: INBOX first, then by name, with parents that exist in name only.
func (s *session) mailboxes() ([]node, error) {
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Mailboxes.List(ctx, &storev1.ListRequest{Account: uint64(s.account), Actor: uint64(s.account)})
	if err != nil {
		return nil, err
	}
	return tree(s.account, s.svc.show(resp.GetMailboxes())), nil
}

// tree orders mailboxes and adds what only their names imply.
func tree(owner mailbox.AccountID, boxes []*storev1.Mailbox) []node {
	nodes := make([]node, 0, len(boxes))
	index := make(map[string]int, len(boxes))
	for _, m := range boxes {
		index[m.GetName()] = len(nodes)
		nodes = append(nodes, node{Mailbox: m, owner: owner})
	}
	for _, m := range boxes {
		if !m.GetExists() {
			continue
		}
		for parent := parentOf(m.GetName()); parent != ""; parent = parentOf(parent) {
			i, ok := index[parent]
			if !ok {
				i = len(nodes)
				index[parent] = i
				nodes = append(nodes, nameOnly(parent))
			}
			nodes[i].children = true
		}
	}
	slices.SortFunc(nodes, func(a, b node) int { return compareNames(a.GetName(), b.GetName()) })
	return nodes
}

func compareNames(a, b string) int {
	if ai, bi := a == "INBOX", b == "INBOX"; ai != bi {
		if ai {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

func parentOf(name string) string {
	if i := strings.LastIndex(name, separator); i > 0 {
		return name[:i]
	}
	return ""
}

// mailbox gives one existing mailbox by name, at a cost that does not depend on how many there are.
func (s *session) mailbox(name string) (*node, error) {
	at, err := s.locate(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Mailboxes.Find(ctx, &storev1.FindRequest{
		Account: uint64(at.owner), Actor: uint64(s.account), Names: []string{at.name},
	})
	if err != nil {
		return nil, err
	}
	if f := resp.GetFound(); len(f) == 1 && f[0].GetMailbox() != nil {
		m := f[0].GetMailbox()
		if at.name != name {
			m.Name = name
		}
		return &node{Mailbox: m, owner: at.owner, children: f[0].GetChildren()}, nil
	}
	return nil, errNoMailbox
}

// candidates are names among which those are that a LIST wants: all that there are, or where it names mailboxes that exist these
// alone.
func (s *session) candidates(req *listRequest) ([]node, error) {
	if !req.recursive {
		if nodes, err := s.named(req.patterns); nodes != nil || err != nil {
			return nodes, err
		}
	}
	return s.everywhere(req.patterns)
}

// named gives the session's own mailboxes by their names, at a cost that does not depend on how many there are; nil where one
// of patterns is no such name: it may have wildcards, be above mailboxes or subscribed to without being one, or be another's.
func (s *session) named(patterns []string) ([]node, error) {
	names := make([]string, len(patterns))
	for i, p := range patterns {
		if strings.ContainsAny(p, "*%") {
			return nil, nil
		}
		if strings.EqualFold(p, "INBOX") {
			p = "INBOX"
		}
		names[i] = p
	}
	slices.SortFunc(names, compareNames)
	names = slices.Compact(names)
	for _, name := range names {
		if s.svc.deps.Sharing == nil {
			break
		}
		if _, _, _, found := s.svc.cfg.behind(name); found {
			return nil, nil
		}
	}
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Mailboxes.Find(ctx, &storev1.FindRequest{Account: uint64(s.account), Actor: uint64(s.account), Names: names})
	if err != nil || len(resp.GetFound()) != len(names) {
		return nil, err
	}
	nodes := make([]node, len(names))
	for i, f := range resp.GetFound() {
		if f.GetMailbox() == nil || f.GetMailbox().GetName() != names[i] {
			return nil, nil
		}
		nodes[i] = node{Mailbox: f.GetMailbox(), owner: s.account, children: f.GetChildren()}
	}
	return nodes, nil
}

// nameOnly is a name without a mailbox.
func nameOnly(name string) node { return node{Mailbox: &storev1.Mailbox{Name: name}} }
