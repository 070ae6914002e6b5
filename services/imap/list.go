package imap

import (
	"bytes"
	"strings"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// listRequest is a LIST (RFC 9051 §6.3.9).
type listRequest struct {
	extended   bool
	rev2       bool
	subscribed bool // select
	special    bool // select
	recursive  bool
	patterns   []string
	// showSubscribed returns \Subscribed.
	showSubscribed bool
	// rights returns MYRIGHTS (RFC 8440).
	rights bool
	status *statusItems
	// metadata are names of entries that are returned (RFC 9590).
	metadata []string
}

// list tells mailboxes that follow patterns.
func (s *session) list(l *wire.Lexer) (reply, error) {
	req, err := s.parseList(l)
	if err != nil {
		return reply{}, err
	}
	req.rev2 = s.enabled.rev2
	if len(req.patterns) == 1 && req.patterns[0] == "" && !req.extended {
		// An empty pattern asks for the separator.
		s.untagged(`LIST (\Noselect) "/" ""`)
		return reply{}, nil
	}
	nodes, err := s.candidates(req)
	if err != nil {
		return reply{}, err
	}
	if req.recursive {
		markBelow(nodes, req)
	}
	noted, err := s.listMetadata(nodes, req)
	if err != nil {
		return reply{}, err
	}
	if err := s.countAllUnseen(nodes, req); err != nil {
		return reply{}, err
	}
	for i := range nodes {
		n := &nodes[i]
		if !req.wants(n) {
			continue
		}
		s.writeList(n, req)
		if req.metadata != nil && n.GetExists() && s.rights(n).Any(acl.Notes) {
			s.writeMetadata(n.GetName(), n.withSpecialUse(noted[n.GetId()], &metadataRequest{names: req.metadata}), req.metadata, -1)
		}
		if req.rights && n.GetExists() && s.svc.deps.Sharing != nil {
			s.tellRights(n.GetName(), s.rights(n))
		}
		if req.status != nil && n.GetExists() && s.rights(n).Has(acl.Read) {
			if err := s.writeStatus(n, req.status); err != nil {
				return reply{}, err
			}
		}
	}
	return reply{}, nil
}

func (s *session) parseList(l *wire.Lexer) (*listRequest, error) {
	req := &listRequest{}
	l.Space()
	if l.Peek() == '(' {
		req.extended = true
		l.List(func() { req.selection(l) })
		if req.recursive && !req.subscribed && !req.special {
			l.Fail("RECURSIVEMATCH alone")
		}
		l.Space()
	}
	reference := s.listName(l, l.AString())
	l.Space()
	if l.Peek() == '(' {
		req.extended = true
		l.List(func() { req.patterns = append(req.patterns, s.listName(l, l.Pattern())) })
		if len(req.patterns) > patternsMax {
			l.Fail("too many patterns")
		}
	} else {
		req.patterns = []string{s.listName(l, l.Pattern())}
	}
	if l.Accept(' ') {
		req.extended = true
		if string(l.Word()) != "RETURN" {
			l.Fail("expected RETURN")
		}
		l.Space()
		l.List(func() { s.listReturn(l, req) })
	}
	if l.End(); l.Err() != nil {
		return nil, l.Err()
	}
	for i, p := range req.patterns {
		if p = reference + p; p != reference || req.extended {
			req.patterns[i] = p
		}
		if len(p) > patternMax && strings.ContainsAny(p, "*%") {
			return nil, wire.Syntaxf("pattern too long")
		}
	}
	return req, nil
}

// listName reads a reference or pattern.
func (s *session) listName(l *wire.Lexer, raw []byte) string {
	if l.Err() != nil {
		return ""
	}
	if len(raw) > patternMax && bytes.ContainsAny(raw, "*%") || len(raw) > plainMax {
		l.Fail("pattern too long")
		return ""
	}
	name, ok := wire.DecodeMailbox(raw, s.utf8OK())
	if !ok {
		l.Fail("bad mailbox pattern")
	}
	return name
}

func (req *listRequest) selection(l *wire.Lexer) {
	switch string(l.Word()) {
	case "SUBSCRIBED":
		req.subscribed, req.showSubscribed = true, true
	case "REMOTE":
	case "RECURSIVEMATCH":
		req.recursive = true
	case "SPECIAL-USE":
		req.special = true
	default:
		l.Fail("unknown selection option")
	}
}

func (s *session) listReturn(l *wire.Lexer, req *listRequest) {
	switch string(l.Word()) {
	case "SUBSCRIBED":
		req.showSubscribed = true
	case "CHILDREN", "SPECIAL-USE":
		// Always told.
	case "MYRIGHTS":
		req.rights = true
	case "METADATA":
		l.Space()
		req.metadata = entryNames(l, false)
	case "STATUS":
		l.Space()
		req.status = s.parseStatusItems(l)
	default:
		l.Fail("unknown return option")
	}
}

// selects tells whether a name has the properties that are selected.
func (req *listRequest) selects(n *node) bool {
	return (!req.subscribed || n.GetSubscribed()) && (!req.special || n.GetSpecialUse() != "")
}

// wants tells whether a name is to be returned.
func (req *listRequest) wants(n *node) bool {
	if !n.GetExists() && !n.children && !req.subscribed {
		// A subscription to nothing is no mailbox.
		return false
	}
	if !req.selects(n) && !n.below {
		return false
	}
	for _, p := range req.patterns {
		if matches(p, n.GetName()) {
			return true
		}
	}
	return false
}

// markBelow marks what has selected names below.
func markBelow(nodes []node, req *listRequest) {
	index := make(map[string]int, len(nodes))
	for i := range nodes {
		index[nodes[i].GetName()] = i
	}
	for i := range nodes {
		if !req.selects(&nodes[i]) {
			continue
		}
		for parent := parentOf(nodes[i].GetName()); parent != ""; parent = parentOf(parent) {
			if k, ok := index[parent]; ok {
				nodes[k].below = true
			}
		}
	}
}

// writeList writes one LIST response.
func (s *session) writeList(n *node, req *listRequest) {
	b := append(s.out.Take(), "* LIST "...)
	b = append(b, n.attributes(req)...)
	b = append(b, ` "/" `...)
	b = wire.AppendMailbox(b, n.GetName(), s.utf8OK())
	if n.below && req.recursive {
		b = append(b, req.childInfo()...)
	}
	s.out.Give(append(b, "\r\n"...))
}

// childInfo tells what it is that names below have.
func (req *listRequest) childInfo() string {
	switch {
	case req.subscribed && req.special:
		return ` ("CHILDINFO" ("SUBSCRIBED" "SPECIAL-USE"))`
	case req.special:
		return ` ("CHILDINFO" ("SPECIAL-USE"))`
	}
	return ` ("CHILDINFO" ("SUBSCRIBED"))`
}

// attributes are a name's (RFC 9051 §7.3.1, RFC 6154).
func (n *node) attributes(req *listRequest) string {
	var a []string
	if !n.GetExists() {
		if req.extended || req.rev2 {
			a = append(a, `\NonExistent`)
		}
		a = append(a, `\Noselect`)
	}
	if n.children {
		a = append(a, `\HasChildren`)
	} else {
		a = append(a, `\HasNoChildren`)
	}
	if req.showSubscribed && n.GetSubscribed() {
		a = append(a, `\Subscribed`)
	}
	if use := n.GetSpecialUse(); use != "" {
		a = append(a, use)
	}
	return "(" + strings.Join(a, " ") + ")"
}
