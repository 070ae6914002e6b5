package imap

import (
	"strconv"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// resync is what a client knows of a mailbox that it comes back to (RFC 7162 §3.2.5).
type resync struct {
	validity mailbox.UIDValidity
	since    mailbox.ModSeq
	// known are the UIDs it is interested in; nil is all.
	known wire.Set
	// matchSeqs and matchUIDs pair up: numbers and UIDs as the client last saw them.
	matchSeqs, matchUIDs wire.Set
}

// errNotEnabled is a use of QRESYNC by who has not enabled it (RFC 7162 §3.2.5, §3.2.6).
var errNotEnabled = bad("QRESYNC is not enabled")

// parseResync reads the parameter of SELECT behind its name.
func (s *session) parseResync(l *wire.Lexer) *resync {
	if !s.enabled.qresync {
		l.Fail(errNotEnabled.text)
		return nil
	}
	r := &resync{}
	l.Space()
	l.Open()
	r.validity = mailbox.UIDValidity(l.Number())
	l.Space()
	r.since = mailbox.ModSeq(l.Number64())
	if l.Err() == nil && (r.validity == 0 || r.since == 0) {
		l.Fail("0 is no UIDVALIDITY and no MODSEQ") // RFC 7162 §7
		return r
	}
	if l.Accept(' ') {
		if l.Peek() != '(' {
			r.known = numbersOnly(l)
			if !l.Accept(' ') {
				l.Expect(')')
				return r
			}
		}
		l.Open()
		r.matchSeqs = numbersOnly(l)
		l.Space()
		r.matchUIDs = numbersOnly(l)
		l.Expect(')')
		if r.matchSeqs.Count() != r.matchUIDs.Count() && !s.enabled.uidonly {
			l.Fail("numbers and UIDs do not pair up")
		}
	}
	l.Expect(')')
	return r
}

// numbersOnly reads a set in which "*" is not allowed.
func numbersOnly(l *wire.Lexer) wire.Set {
	set, saved := l.Set()
	for _, r := range set {
		if r.First == wire.Star || r.Last == wire.Star {
			l.Fail("* in a set of known messages")
			return nil
		}
	}
	if saved {
		l.Fail("$ in a set of known messages")
	}
	return set.Resolve(1)
}

// resynchronise tells what became of what the client knows: what vanished, then what changed.
func (s *session) resynchronise(r *resync) error {
	snap := s.sel.snap
	if r.validity != snap.UIDValidity {
		return nil
	}
	known := wire.Set{{First: 1, Last: 1<<32 - 1}}
	if r.known != nil {
		known = r.known
	}
	exact, err := s.tellVanishedSince(r.since, known, snap.Matched(r.matchSeqs, r.matchUIDs))
	if err != nil {
		return err
	}
	since := r.since
	if !exact {
		since = 0
	}
	s.fetchFlags(snap.ChangedSince(since, snap.Seqs(known)), true, true)
	return nil
}

// tellVanishedSince writes which of a resolved set of UIDs were expunged after since. Where the store does not know any more
// it tells all that are not there, but for those up to matched, and says so by false: of what the client saw then nothing is
// certain.
func (s *session) tellVanishedSince(since mailbox.ModSeq, known wire.Set, matched mailbox.UID) (exact bool, err error) {
	snap := s.sel.snap
	if snap.UIDNext <= 1 {
		return true, nil
	}
	// What came after the client's view, or after ours, is nothing that it knows.
	known = known.Intersect(wire.Set{{First: 1, Last: uint32(snap.UIDNext) - 1}})
	ctx, cancel := s.call()
	defer cancel()
	gone, exact, err := s.sel.box.Expunged(ctx, since)
	if err != nil {
		return false, err
	}
	if exact {
		gone = gone.Intersect(known)
	} else {
		gone = known.Less(wire.Set{{First: 1, Last: uint32(matched)}}[:min(matched, 1)])
	}
	// The store is asked later than the snapshot was taken: what went since then is told as such, next.
	gone = gone.Less(snap.UIDs(snap.Seqs(gone)))
	s.tellVanished("VANISHED (EARLIER) ", gone)
	return exact, nil
}

// tellHeard tells a client of QRESYNC, before the tagged response, where MODSEQs of messages would make it believe that it has
// heard of more than it has: messages went before, of which it could not be told yet. Once it was, it is told so (RFC 7162 §3.2,
// §6).
func (s *session) tellHeard() {
	sel := s.sel
	if !s.enabled.qresync {
		return
	}
	late := sel.snap.HasGhosts()
	if late && sel.told || !late && sel.lowered {
		s.untagged("OK [" + highest(sel.heard) + "] all changes told up to here")
		sel.lowered = late
	}
	sel.told = false
}

// vanishedPerLine bounds the ranges of one VANISHED response: some 20 KiB.
const vanishedPerLine = 1000

// tellVanished writes UIDs of messages that are gone (RFC 7162 §3.2.10).
func (s *session) tellVanished(name string, uids wire.Set) {
	for len(uids) > 0 {
		n := min(len(uids), vanishedPerLine)
		b := append(append(s.out.Take(), "* "...), name...)
		b = wire.AppendSet(b, uids[:n])
		s.out.Give(append(b, "\r\n"...))
		uids = uids[n:]
	}
}

// tellExpunged writes that numbers of a snapshot are gone: from the highest down, so that each holds when it is read, or by
// UID for who asked for that.
func (s *session) tellExpunged(snap *view.Snapshot, seqs wire.Set) {
	if s.enabled.qresync || s.enabled.uidonly {
		s.tellVanished("VANISHED ", snap.UIDs(seqs))
		return
	}
	for i := len(seqs) - 1; i >= 0; i-- {
		r := seqs[i]
		for n := r.Last; n >= r.First; n-- {
			b := append(s.out.Take(), "* "...)
			b = strconv.AppendUint(b, uint64(n), 10)
			s.out.Give(append(b, " EXPUNGE\r\n"...))
		}
	}
}
