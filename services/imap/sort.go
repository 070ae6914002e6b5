package imap

import (
	"context"
	"strconv"
	"strings"

	"github.com/mailfarm/mailfarm/services/imap/internal/search"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// sort finds messages and tells them in an order (RFC 5256, RFC 5267 §3).
func (s *session) sort(l *wire.Lexer) (reply, error) { return s.sortThese(l, false) }

// uidSort is sort with UIDs in the answer.
func (s *session) uidSort(l *wire.Lexer) (reply, error) { return s.sortThese(l, true) }

func (s *session) sortThese(l *wire.Lexer, uid bool) (reply, error) {
	req := &searchRequest{uid: uid, whole: true}
	l.Space()
	req.returns(l)
	criteria := parseCriteria(l)
	l.Space()
	if err := charset(l); err != nil {
		return reply{}, err
	}
	l.Space()
	req.key = search.Parse(l)
	if l.Err() != nil {
		return reply{}, l.Err()
	}
	if err := s.mayUpdate(req); err != nil {
		return reply{}, err
	}
	f, err := s.find(req)
	if err != nil {
		return reply{}, s.failedSearch(req, err)
	}
	order, err := s.order(f, criteria, req.uid)
	if err != nil {
		return reply{}, s.failedSearch(req, err)
	}
	s.saveResult(req, f, inOrder(order))
	if req.extended {
		s.writeExtended(req, f, inOrder(order))
	} else {
		s.writeSort(req, f, order)
	}
	s.beginContext(req, f, criteria, order)
	return reply{}, nil
}

// parseCriteria reads the criteria in parentheses.
func parseCriteria(l *wire.Lexer) []criterion {
	var criteria []criterion
	reverse := false
	l.List(func() {
		name := string(l.Word())
		if name == "REVERSE" && !reverse {
			reverse = true
			return
		}
		by, ok := orders[name]
		if !ok {
			l.Fail("unknown sort criterion")
		}
		if len(criteria) >= criteriaMax {
			l.Fail("too many sort criteria")
		}
		criteria = append(criteria, criterion{by, reverse})
		reverse = false
	})
	if len(criteria) == 0 || reverse {
		l.Fail("sort by what?")
	}
	return criteria
}

// charset reads the charset that SORT and THREAD are told.
func charset(l *wire.Lexer) error {
	name := strings.ToUpper(string(l.AString()))
	if l.Err() == nil && name != "UTF-8" && name != "US-ASCII" {
		return no("BADCHARSET (US-ASCII UTF-8)", "unknown charset")
	}
	return nil
}

// order puts what was found in order: sequence numbers, or UIDs.
func (s *session) order(f *found, criteria []criterion, uid bool) ([]uint32, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.svc.cfg.SearchTimeout)
	defer cancel()
	leave, err := s.svc.enterSort(ctx, f.seqs.Count())
	if err != nil {
		return nil, err
	}
	defer leave()
	o := &sorter{criteria: criteria, uid: uid, loose: f.loose}
	if err := s.withKeys(ctx, f.seqs, o.needsKeys(), o.add); err != nil {
		return nil, err
	}
	return o.sorted(), nil
}

// writeSort writes the response of a SORT without RETURN (RFC 5256 §4, RFC 7162 §3.1.9).
func (s *session) writeSort(req *searchRequest, f *found, order []uint32) {
	b := append(s.out.Take(), "* SORT"...)
	for _, n := range order {
		b = strconv.AppendUint(append(b, ' '), uint64(n), 10)
		if len(b) > 4<<10 {
			s.out.Give(b)
			b = s.out.Take()
		}
	}
	s.out.Give(append(req.appendModSeq(b, f), "\r\n"...))
}
