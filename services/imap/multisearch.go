package imap

import (
	"slices"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// source is a filter of mailboxes to search (RFC 7377 §2.1): those of NOTIFY, and one level below names.
type source struct {
	eventGroup
	oneLevel bool
}

// matches tells whether a mailbox is to be searched.
func (f *source) matches(n *node, own mailbox.AccountID) bool {
	switch {
	case f.oneLevel:
		return slices.ContainsFunc(f.names, func(name string) bool {
			rest, below := strings.CutPrefix(n.GetName(), name+separator)
			return n.GetName() == name || below && !strings.Contains(rest, separator)
		})
	}
	return f.eventGroup.matches(n.GetName(), n.GetSubscribed(), n.owner == own)
}

// multiSearch finds messages in several mailboxes (RFC 7377). Numbers are UIDs.
func (s *session) multiSearch(l *wire.Lexer) (reply, error) {
	sources := []source{{}}
	if len(l.Remaining()) > 4 && strings.EqualFold(string(l.Remaining()[:4]), " IN ") {
		l.Space()
		l.Word()
		l.Space()
		sources = s.parseSources(l)
	}
	alone := len(sources) == 1 && sources[0].filter == filterSelected && !sources[0].oneLevel
	req, err := parseSearch(l, true)
	if err != nil {
		return reply{}, err
	}
	req.extended = true
	if !req.min && !req.max && !req.count && !req.save && req.partial == nil && !req.relevancy {
		req.all = true
	}
	switch {
	case slices.ContainsFunc(sources, func(f source) bool { return f.filter == filterSelected && !f.oneLevel }) && s.sel == nil:
		return bad("no mailbox selected"), nil
	case req.update && s.sel == nil:
		return bad("UPDATE is of the selected mailbox, and none is selected"), nil // RFC 7377 §2.2
	case req.save && !alone:
		return bad("SAVE is of the selected mailbox"), nil // RFC 7377 §2.2
	}
	if req.key.UsesModSeq() {
		s.enableCondstore() // while the selected mailbox is the selected one
	}
	if req.update {
		s.noUpdate(string(s.tag))
	}
	boxes, err := s.sourced(sources)
	if err != nil {
		return reply{}, err
	}
	until := time.Now().Add(s.svc.cfg.SearchTimeout)
	p := s.newProgress(uint32(len(boxes)))
	for i := range boxes {
		p.at(uint32(i))
		if time.Now().After(until) {
			return no("LIMIT", "search took too long"), nil
		}
		if err := s.searchIn(&boxes[i], req, alone); err != nil {
			return reply{}, err
		}
	}
	return reply{}, nil
}

// parseSources reads filters in parentheses, and scope options, of which there are none yet.
func (s *session) parseSources(l *wire.Lexer) (sources []source) {
	names := 0
	l.Open()
	for first := true; l.Err() == nil && (first || l.Accept(' ')); first = false {
		if l.Peek() == '(' && !first {
			l.Fail("unknown scope option")
			break
		}
		word := string(l.Word())
		f := source{oneLevel: word == "SUBTREE-ONE"}
		var ok bool
		if f.filter, ok = filterNames[word]; !ok && !f.oneLevel || f.filter == filterSelectedDelayed {
			l.Fail("unknown mailboxes to search")
		}
		if f.oneLevel || f.filter >= filterSubtree {
			l.Space()
			name := func() {
				if n := s.mailboxName(l); l.Err() == nil {
					f.names = append(f.names, n)
				}
			}
			if l.Peek() == '(' {
				l.List(name)
			} else {
				name()
			}
			if names += len(f.names); len(f.names) == 0 || names > notifyNamesMax {
				l.Fail("no mailboxes, or too many")
			}
		}
		if sources = append(sources, f); len(sources) > groupsMax {
			l.Fail("too many filters")
		}
	}
	if l.Err() == nil && !l.Close() {
		l.Fail("expected )")
	}
	return sources
}

// sourced lists the mailboxes of filters that exist and may be read, each once.
func (s *session) sourced(sources []source) (boxes []node, err error) {
	others := slices.DeleteFunc(slices.Clone(sources), func(f source) bool { return f.filter == filterSelected && !f.oneLevel })
	if len(others) > 0 {
		all, err := s.everywhere([]string{"*"})
		if err != nil {
			return nil, err
		}
		for i := range all {
			n := &all[i]
			if n.GetExists() && s.rights(n).Has(acl.Read) && slices.ContainsFunc(others, func(f source) bool { return f.matches(n, s.account) }) {
				boxes = append(boxes, *n)
			}
		}
	}
	if len(others) < len(sources) && !slices.ContainsFunc(boxes, func(n node) bool { return n.GetId() == uint64(s.sel.snap.ID) }) {
		n, err := s.mailbox(s.sel.name)
		if err != nil {
			return nil, err
		}
		boxes = append([]node{*n}, boxes...)
	}
	return boxes, nil
}

// searchIn searches one mailbox and tells what was found, if anything was (RFC 7377 §2).
func (s *session) searchIn(n *node, req *searchRequest, alone bool) error {
	if s.sel != nil && uint64(s.sel.snap.ID) == n.GetId() {
		return s.searchHere(n, req, alone)
	}
	ctx, cancel := s.call()
	defer cancel()
	box, snap, err := s.svc.cache.Open(ctx, view.Key{Account: n.owner, Actor: s.account, ID: mailbox.ID(n.GetId())}, false)
	if err == view.ErrGone {
		return nil
	}
	if err != nil {
		return err
	}
	// The search is of whatever is selected; nothing is told of this one meanwhile.
	own := s.sel
	defer func() {
		s.sel = own
		box.Close(false)
	}()
	s.sel = &selected{box: box, snap: snap, name: n.GetName(), readOnly: true, recent: snap.UIDNext, keywords: snap.Keywords}
	return s.searchHere(n, req, false)
}

func (s *session) searchHere(n *node, req *searchRequest, alone bool) error {
	if !alone && usesNumbers(req.key, s) {
		return bad("message numbers are of the selected mailbox") // RFC 7377 §2.1
	}
	req.in = &inMailbox{name: n.GetName(), validity: uint32(s.sel.snap.UIDValidity)}
	f, err := s.find(req)
	if err != nil {
		return err
	}
	uids := inSet(s.sel.snap.UIDs(f.seqs))
	s.saveResult(req, f, uids)
	if len(f.seqs) > 0 {
		s.writeExtended(req, f, uids)
	}
	return nil
}
