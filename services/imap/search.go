package imap

import (
	"context"
	"strconv"
	"strings"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/services/imap/internal/search"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// searchRequest is a SEARCH (RFC 9051 §6.4.4).
type searchRequest struct {
	uid bool
	// extended: RETURN was given. all, min, max, count and save are its options.
	extended                   bool
	all, min, max, count, save bool
	key                        *search.Key
}

// found is what a SEARCH found.
type found struct {
	seqs   wire.Set
	modSeq mailbox.ModSeq // the highest
}

// search finds messages.
func (s *session) search(l *wire.Lexer) (reply, error) { return s.searchThese(l, false) }

// uidSearch is search with UIDs in the answer.
func (s *session) uidSearch(l *wire.Lexer) (reply, error) { return s.searchThese(l, true) }

func (s *session) searchThese(l *wire.Lexer, uid bool) (reply, error) {
	req, err := parseSearch(l, uid)
	if err != nil {
		return reply{}, err
	}
	f, err := s.find(req)
	if err != nil {
		if req.save {
			// A search that fails leaves an empty result (RFC 9051 §6.4.4.1).
			s.sel.saved = nil
		}
		return reply{}, err
	}
	if req.save {
		s.sel.saved = s.sel.snap.UIDs(req.saves(f.seqs))
	}
	if req.extended || s.enabled.rev2 {
		s.writeExtended(req, f)
	} else {
		s.writeSearch(req, f)
	}
	return reply{}, nil
}

// find looks through the selected mailbox.
func (s *session) find(req *searchRequest) (*found, error) {
	err := req.key.Bind(&search.Env{Keywords: s.sel.keywords, Seqs: s.seqs, Now: s.svc.deps.Now()})
	if err != nil {
		return nil, err
	}
	if req.key.UsesModSeq() {
		s.enableCondstore()
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.svc.cfg.SearchTimeout)
	defer cancel()
	f, err := s.run(ctx, req.key)
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		return nil, no("LIMIT", "search took too long")
	}
	return f, err
}

func parseSearch(l *wire.Lexer, uid bool) (*searchRequest, error) {
	req := &searchRequest{uid: uid}
	l.Space()
	if l.AcceptWord("RETURN") {
		req.extended = true
		l.Space()
		options := 0
		l.List(func() {
			options++
			switch string(l.Word()) {
			case "ALL":
				req.all = true
			case "MIN":
				req.min = true
			case "MAX":
				req.max = true
			case "COUNT":
				req.count = true
			case "SAVE":
				req.save = true
			default:
				l.Fail("unknown return option")
			}
		})
		req.all = req.all || options == 0
		l.Space()
	}
	if l.AcceptWord("CHARSET") {
		l.Space()
		charset := strings.ToUpper(string(l.AString()))
		if l.Err() == nil && charset != "UTF-8" && charset != "US-ASCII" {
			return nil, no("BADCHARSET (US-ASCII UTF-8)", "unknown charset")
		}
		l.Space()
	}
	req.key = search.Parse(l)
	return req, l.Err()
}

// saves is what SAVE keeps: with MIN or MAX alone only those (RFC 5182 §2.4).
func (req *searchRequest) saves(seqs wire.Set) wire.Set {
	if len(seqs) == 0 || req.all || req.count || !req.min && !req.max {
		return seqs
	}
	var out wire.Set
	first, last := seqs[0].First, seqs[len(seqs)-1].Last
	if req.min {
		out = out.Add(first)
	}
	if req.max && (!req.min || last != first) {
		out = out.Add(last)
	}
	return out
}

// writeSearch writes the response of IMAP4rev1 (RFC 3501 §7.2.5, RFC 7162 §3.1.5).
func (s *session) writeSearch(req *searchRequest, f *found) {
	numbers := f.seqs
	if req.uid {
		numbers = s.sel.snap.UIDs(f.seqs)
	}
	b := append(s.out.Take(), "* SEARCH"...)
	for _, r := range numbers {
		for n := uint64(r.First); n <= uint64(r.Last); n++ {
			b = append(b, ' ')
			b = strconv.AppendUint(b, n, 10)
		}
		s.out.Give(b)
		b = s.out.Take()
	}
	if len(f.seqs) > 0 && req.key.UsesModSeq() {
		b = append(b, " (MODSEQ "...)
		b = strconv.AppendUint(b, uint64(f.modSeq), 10)
		b = append(b, ')')
	}
	s.out.Give(append(b, "\r\n"...))
}

// writeExtended writes ESEARCH (RFC 9051 §7.3.4, RFC 7162 §3.1.10).
func (s *session) writeExtended(req *searchRequest, f *found) {
	if req.extended && !req.all && !req.min && !req.max && !req.count {
		// SAVE alone tells nothing.
		return
	}
	numbers := f.seqs
	if req.uid {
		numbers = s.sel.snap.UIDs(f.seqs)
	}
	b := append(s.out.Take(), "* ESEARCH (TAG "...)
	b = wire.AppendString(b, s.tag, false)
	b = append(b, ')')
	if req.uid {
		b = append(b, " UID"...)
	}
	if n := len(numbers); n > 0 {
		if req.min {
			b = append(b, " MIN "...)
			b = strconv.AppendUint(b, uint64(numbers[0].First), 10)
		}
		if req.max {
			b = append(b, " MAX "...)
			b = strconv.AppendUint(b, uint64(numbers[n-1].Last), 10)
		}
	}
	if req.count {
		b = append(b, " COUNT "...)
		b = strconv.AppendUint(b, f.seqs.Count(), 10)
	}
	if len(numbers) > 0 {
		if req.all || !req.extended {
			b = append(b, " ALL "...)
			b = wire.AppendSet(b, numbers)
		}
		if req.key.UsesModSeq() {
			b = append(b, " MODSEQ "...)
			b = strconv.AppendUint(b, uint64(f.modSeq), 10)
		}
	}
	s.out.Give(append(b, "\r\n"...))
}
