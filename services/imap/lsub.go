package imap

import (
	"strings"

	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// lsub tells subscribed names (RFC 3501 §6.3.9). Where "%" hides a subscribed name, its parent is told as \Noselect.
func (s *session) lsub(l *wire.Lexer) (reply, error) {
	l.Space()
	reference := s.listName(l, l.AString())
	l.Space()
	pattern := s.listName(l, l.Pattern())
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	req := &listRequest{subscribed: true, recursive: strings.HasSuffix(pattern, "%"), patterns: []string{reference + pattern}}
	nodes, err := s.candidates(req)
	if err != nil {
		return reply{}, err
	}
	if req.recursive {
		nodes = withParents(nodes)
		markBelow(nodes, req)
	}
	for i := range nodes {
		n := &nodes[i]
		if !req.wants(n) {
			continue
		}
		attributes := "()"
		if !n.GetSubscribed() {
			attributes = `(\Noselect)`
		}
		b := append(s.out.Take(), "* LSUB "...)
		b = append(b, attributes...)
		b = append(b, ` "/" `...)
		b = wire.AppendMailbox(b, n.GetName(), s.utf8OK())
		s.out.Give(append(b, "\r\n"...))
	}
	return reply{}, nil
}

// withParents adds the parents of names that are only subscribed to.
func withParents(nodes []node) []node {
	have := make(map[string]bool, len(nodes))
	for i := range nodes {
		have[nodes[i].GetName()] = true
	}
	for _, n := range nodes {
		for parent := parentOf(n.GetName()); parent != "" && !have[parent]; parent = parentOf(parent) {
			have[parent] = true
			nodes = append(nodes, nameOnly(parent))
		}
	}
	return nodes
}
