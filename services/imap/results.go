package imap

import (
	"strconv"

	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// returns reads RETURN with its options, if it is there (RFC 4731, RFC 5182, RFC 9394, RFC 6203 §4).
func (req *searchRequest) returns(l *wire.Lexer) {
	if !l.AcceptWord("RETURN") {
		return
	}
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
		case "UPDATE":
			req.update = true
			if l.Peek() == ' ' && l.PeekAt(1) == '(' {
				l.Space()
				req.items = withFirst(parseItems(l), "UID")
			}
			options-- // ALL is told all the same, unless something else is asked for
		case "CONTEXT":
			// A hint that the result will be asked for again (RFC 5267 §4.2): what that takes is kept for all anyhow.
			options--
		case "RELEVANCY":
			req.relevancy = true
		case "PARTIAL":
			if req.partial != nil {
				l.Fail("PARTIAL twice")
			}
			l.Space()
			w := parseWindow(l)
			req.partial = &w
		default:
			l.Fail("unknown return option")
		}
	})
	if req.all && req.partial != nil {
		l.Fail("ALL and PARTIAL exclude each other") // RFC 9394 §3.1
	}
	req.all = req.all || options == 0
	l.Space()
}

// results are the numbers that a search or a sort found.
type results interface {
	Count() uint64
	// ends are the first and the last one; there is one.
	ends() (first, last uint32)
	// within are those in a window.
	within(w window) results
	append(b []byte) []byte
	each(func(uint32))
}

// inSet are results in ascending order.
type inSet wire.Set

func (r inSet) Count() uint64           { return wire.Set(r).Count() }
func (r inSet) ends() (_, _ uint32)     { return r[0].First, r[len(r)-1].Last }
func (r inSet) within(w window) results { return inSet(w.of(wire.Set(r))) }
func (r inSet) append(b []byte) []byte  { return wire.AppendSet(b, wire.Set(r)) }
func (r inSet) each(f func(uint32)) {
	for _, run := range r {
		for n := uint64(run.First); n <= uint64(run.Last); n++ {
			f(uint32(n))
		}
	}
}

// inOrder are results as they were sorted.
type inOrder []uint32

func (r inOrder) Count() uint64       { return uint64(len(r)) }
func (r inOrder) ends() (_, _ uint32) { return r[0], r[len(r)-1] }
func (r inOrder) each(f func(uint32)) {
	for _, n := range r {
		f(n)
	}
}

func (r inOrder) within(w window) results {
	n := uint64(len(r))
	first, last := w.first, min(w.last, n)
	if w.first > n {
		return inOrder(nil)
	}
	if w.fromEnd {
		first, last = n-last+1, n-first+1
	}
	return r[first-1 : last]
}

// append writes them in their order (RFC 5267 §3.2): only what ascends by one is told as a range.
func (r inOrder) append(b []byte) []byte {
	for i := 0; i < len(r); {
		n := 1
		for i+n < len(r) && r[i+n] == r[i]+uint32(n) {
			n++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r[i]), 10)
		if n > 1 {
			b = strconv.AppendUint(append(b, ':'), uint64(r[i+n-1]), 10)
		}
		i += n
	}
	return b
}

// String is the window as it was asked for.
func (w window) String() string {
	sign := ""
	if w.fromEnd {
		sign = "-"
	}
	return sign + strconv.FormatUint(w.first, 10) + ":" + sign + strconv.FormatUint(w.last, 10)
}

// writeExtended writes ESEARCH (RFC 9051 §7.3.4, RFC 7162 §3.1.10, RFC 5267 §3.2).
func (s *session) writeExtended(req *searchRequest, f *found, r results) {
	if req.extended && !req.all && !req.min && !req.max && !req.count && req.partial == nil && !req.relevancy {
		// SAVE alone tells nothing.
		return
	}
	b := append(s.out.Take(), "* ESEARCH (TAG "...)
	b = wire.AppendString(b, s.tag, false)
	if req.in != nil {
		b = wire.AppendMailbox(append(b, " MAILBOX "...), req.in.name, s.utf8OK())
		b = strconv.AppendUint(append(b, " UIDVALIDITY "...), uint64(req.in.validity), 10)
	}
	b = append(b, ')')
	if req.uid {
		b = append(b, " UID"...)
	}
	any := r.Count() > 0
	if any && (req.min || req.max) {
		first, last := r.ends()
		if req.min {
			b = strconv.AppendUint(append(b, " MIN "...), uint64(first), 10)
		}
		if req.max {
			b = strconv.AppendUint(append(b, " MAX "...), uint64(last), 10)
		}
	}
	if req.count {
		b = strconv.AppendUint(append(b, " COUNT "...), r.Count(), 10)
	}
	if any && (req.all || !req.extended) {
		b = r.append(append(b, " ALL "...))
	}
	listed := r
	if req.partial != nil {
		listed = r.within(*req.partial)
		b = append(append(append(b, " PARTIAL ("...), req.partial.String()...), ' ')
		if listed.Count() > 0 {
			b = listed.append(b)
		} else {
			b = append(b, "NIL"...)
		}
		b = append(b, ')')
	}
	if req.relevancy && listed.Count() > 0 {
		b = s.appendRelevancy(b, req, f, listed)
	}
	if any && req.key.UsesModSeq() {
		b = strconv.AppendUint(append(b, " MODSEQ "...), uint64(f.modSeq), 10)
	}
	s.out.Give(append(b, "\r\n"...))
}

// appendRelevancy writes a score for every number that is listed (RFC 6203 §4).
func (s *session) appendRelevancy(b []byte, req *searchRequest, f *found, listed results) []byte {
	loose := f.loose
	if req.uid {
		loose = s.sel.snap.UIDs(loose)
	}
	b = append(b, " RELEVANCY ("...)
	first := true
	listed.each(func(n uint32) {
		if !first {
			b = append(b, ' ')
		}
		first = false
		b = strconv.AppendInt(b, int64(relevancy(loose.Contains(n))), 10)
	})
	return append(b, ')')
}

// relevancy is the score of a message, from 1 to 100: what holds a text as it was asked for counts most, what has its words
// in another form half of that.
func relevancy(loose bool) int {
	if loose {
		return 50
	}
	return 100
}

// saveResult does what SAVE asks for: with MIN, MAX or PARTIAL alone only those are kept (RFC 5182 §2.4, RFC 9394 §3.2). r are
// the numbers that the answer has.
func (s *session) saveResult(req *searchRequest, f *found, r results) {
	if !req.save {
		return
	}
	if len(f.seqs) == 0 || req.all || req.count || !req.min && !req.max && req.partial == nil {
		s.sel.saved = s.sel.snap.UIDs(f.seqs)
		return
	}
	var kept wire.Set
	keep := func(n uint32) { kept = kept.Add(n) }
	if req.partial != nil {
		r.within(*req.partial).each(keep)
	}
	first, last := r.ends()
	if req.min {
		keep(first)
	}
	if req.max {
		keep(last)
	}
	if kept = kept.Join(); !req.uid {
		kept = s.sel.snap.UIDs(kept)
	}
	s.sel.saved = kept
}

// failedSearch is the error of a search that fails: with SAVE nothing is saved then, unless the command was not understood
// (RFC 9051 §6.4.4.1).
func (s *session) failedSearch(req *searchRequest, err error) error {
	if req.save && s.replyFor(err).status != statusBad && s.sel != nil {
		s.sel.saved = nil
	}
	return err
}
