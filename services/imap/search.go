package imap

import (
	"context"
	"strconv"

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
	relevancy                  bool
	// whole: a part of the messages is of no use.
	whole bool
	// update keeps the result up to date (RFC 5267 §4.3), and items are wanted of new messages in it (RFC 5465 §7).
	update bool
	items  []item
	// in is of which mailbox an answer is told to be, where several are searched.
	in      *inMailbox
	partial *window
	key     *search.Key
}

// found is what a SEARCH found.
type found struct {
	seqs   wire.Set
	modSeq mailbox.ModSeq // the highest
	// loose are those that FUZZY found by other forms of the words.
	loose wire.Set
	// limit is the code that tells of a limit to the messages that were looked at.
	limit string
	// unreadable are the UIDs of messages that would have had to be read and could not.
	unreadable wire.Set
}

// inMailbox names a mailbox in ESEARCH (RFC 7377 §2.1).
type inMailbox struct {
	name     string
	validity uint32
}

// search finds messages.
func (s *session) search(l *wire.Lexer) (reply, error) { return s.searchThese(l, false) }

// uidSearch is search with UIDs in the answer.
func (s *session) uidSearch(l *wire.Lexer) (reply, error) { return s.searchThese(l, true) }

func (s *session) searchThese(l *wire.Lexer, uid bool) (reply, error) {
	req, err := parseSearch(l, uid)
	if err == nil {
		err = s.mayUpdate(req)
	}
	if err != nil {
		return reply{}, s.failedSearch(req, err)
	}
	f, err := s.find(req)
	if err != nil {
		return reply{}, s.failedSearch(req, err)
	}
	numbers := f.seqs
	if req.uid {
		numbers = s.sel.snap.UIDs(f.seqs)
	}
	s.saveResult(req, f, inSet(numbers))
	if req.extended || s.enabled.rev2 {
		s.writeExtended(req, f, inSet(numbers))
	} else {
		s.writeSearch(req, f, numbers)
	}
	s.beginContext(req, f, nil, nil)
	return s.limited(reply{}, f.limit), nil
}

// find looks through the selected mailbox. Where the limit allows so many messages only, of those that the sets among the keys
// leave, the latest are looked at, and found.limit tells of it; or none, if all are wanted or nothing (RFC 9738 §3.1).
func (s *session) find(req *searchRequest) (*found, error) {
	err := req.key.Bind(&search.Env{Keywords: s.sel.keywords, Seqs: s.searchSeqs, Now: s.svc.deps.Now()})
	if err != nil {
		return nil, err
	}
	if req.key.UsesModSeq() {
		s.enableCondstore()
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.svc.cfg.SearchTimeout)
	defer cancel()
	seqs := req.key.Scope(s.sel.snap.All())
	if req.whole {
		if err := s.withinLimit(seqs.Count()); err != nil {
			return nil, err
		}
	}
	var limit string
	if req.in == nil { // several mailboxes have no lowest UID
		seqs, limit = s.capped(seqs)
	}
	f, err := s.runOn(ctx, req.key, seqs)
	if err != nil && ctx.Err() == context.DeadlineExceeded {
		return nil, no("LIMIT", "search took too long")
	}
	if err == nil {
		f.limit = limit
	}
	if err == nil && len(f.unreadable) > 0 {
		// The others are answered for.
		s.untagged("NO [CORRUPTION] " + s.unreadableText(f.unreadable))
	}
	return f, err
}

func parseSearch(l *wire.Lexer, uid bool) (*searchRequest, error) {
	req := &searchRequest{uid: uid}
	l.Space()
	req.returns(l)
	if l.AcceptWord("CHARSET") {
		l.Space()
		if err := charset(l); err != nil {
			return req, err
		}
		l.Space()
	}
	req.key = search.Parse(l)
	return req, l.Err()
}

// writeSearch writes the response of IMAP4rev1 (RFC 3501 §7.2.5, RFC 7162 §3.1.5).
func (s *session) writeSearch(req *searchRequest, f *found, numbers wire.Set) {
	b := append(s.out.Take(), "* SEARCH"...)
	for _, r := range numbers {
		for n := uint64(r.First); n <= uint64(r.Last); n++ {
			b = append(b, ' ')
			b = strconv.AppendUint(b, n, 10)
		}
		s.out.Give(b)
		b = s.out.Take()
	}
	s.out.Give(append(req.appendModSeq(b, f), "\r\n"...))
}

// appendModSeq ends a response with the highest MODSEQ of what was found, where MODSEQ was asked for (RFC 7162 §3.1.6, §3.1.9).
func (req *searchRequest) appendModSeq(b []byte, f *found) []byte {
	if len(f.seqs) == 0 || !req.key.UsesModSeq() {
		return b
	}
	b = strconv.AppendUint(append(b, " (MODSEQ "...), uint64(f.modSeq), 10)
	return append(b, ')')
}
