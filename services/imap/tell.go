package imap

import (
	"slices"
	"strconv"
	"strings"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// tell brings the session to its mailbox's last known state, which is asked for where a notice came, and writes what
// changed. With numbered, sequence numbers stay as they are.
func (s *session) tell(numbered bool) error {
	return s.tellChanges(numbered, s.announced())
}

// tellChanges is tell with a say in which changed flags are told.
func (s *session) tellChanges(numbered bool, announce func(view.Change) bool) error {
	if seq := s.dirty.take(); seq > uint64(s.sel.box.Current().HighestModSeq) {
		if err := s.refresh(); err != nil {
			s.dirty.raise(seq)
			return err
		}
	}
	return s.advance(s.sel.box.Current(), numbered, announce)
}

// refresh asks the store for what changed; what was committed before is known afterwards.
func (s *session) refresh() error {
	ctx, cancel := s.call()
	defer cancel()
	_, err := s.sel.box.Refresh(ctx)
	return err
}

// advance moves the session's view and writes the difference: what was expunged, then the new size, then flags by new numbers.
func (s *session) advance(to *view.Snapshot, numbered bool, announce func(view.Change) bool) error {
	sel := s.sel
	if sel.snap == to {
		return nil
	}
	next, delta, err := sel.snap.Advance(to, numbered, announce)
	if err != nil {
		return err
	}
	s.contextsExpunged(delta.Expunged)
	s.tellExpunged(sel.snap, delta.Expunged)
	known := sel.snap.MaxUID()
	sel.snap = next
	// A full mailbox that has room again is told; one that became full by keywords that had names is not looked for.
	if !slices.Equal(next.Keywords, sel.keywords) || sel.full && !next.KeywordsFull() {
		sel.setKeywords(next.Keywords)
		s.tellFlags()
	}
	if !next.HasGhosts() {
		sel.heard = next.HighestModSeq
	}
	if delta.Grown {
		s.tellSize()
	}
	if len(delta.Changed) > 0 {
		s.fetchFlags(delta.Changed, true, s.enabled.condstore)
	}
	s.contextsChanged(known)
	if delta.Grown {
		return s.fetchNew(known)
	}
	return nil
}

// tellSize writes EXISTS, and RECENT for IMAP4rev1.
func (s *session) tellSize() {
	n := s.sel.snap.Len()
	b := append(s.out.Take(), "* "...)
	b = strconv.AppendUint(b, uint64(n), 10)
	b = append(b, " EXISTS\r\n"...)
	if !s.enabled.rev2 {
		b = append(b, "* "...)
		b = strconv.AppendUint(b, uint64(n-s.sel.snap.Rank(s.sel.recent)), 10)
		b = append(b, " RECENT\r\n"...)
	}
	s.out.Give(b)
}

// tellFlags writes FLAGS and PERMANENTFLAGS.
func (s *session) tellFlags() {
	b := append(s.out.Take(), `* FLAGS (\Answered \Flagged \Deleted \Seen \Draft`...)
	for _, k := range s.sel.keywords {
		b = append(append(b, ' '), k...)
	}
	s.sel.full = s.sel.snap.KeywordsFull()
	b = append(b, ")\r\n* OK [PERMANENTFLAGS ("...)
	if !s.sel.readOnly {
		b = s.sel.appendPermanent(b)
	}
	s.out.Give(append(b, ")] flags that stay\r\n"...))
}

// appendPermanent writes the flags that the session may change, by its rights (RFC 4314 §5.1).
func (sel *selected) appendPermanent(b []byte) []byte {
	if sel.rights == acl.All {
		b = append(b, `\Answered \Flagged \Deleted \Seen \Draft`...)
	} else {
		var may []string
		for _, f := range []struct {
			needs acl.Rights
			flags string
		}{{acl.Write, `\Answered \Flagged`}, {acl.Deleted, `\Deleted`}, {acl.Seen, `\Seen`}, {acl.Write, `\Draft`}} {
			if sel.rights.Has(f.needs) {
				may = append(may, f.flags)
			}
		}
		b = append(b, strings.Join(may, " ")...)
		if !sel.rights.Has(acl.Write) {
			return b
		}
	}
	for _, k := range sel.keywords {
		b = append(append(b, ' '), k...)
	}
	if sel.full {
		return b // RFC 9051 §7.1: no keyword can be made
	}
	return append(b, ` \*`...)
}

// fetchFlags writes FETCH responses with flags that changed.
func (s *session) fetchFlags(seqs wire.Set, uid, modSeq bool) {
	s.fetchFlagsBy(s.sel.snap.Walk, seqs, uid, modSeq)
}

// fetchFlagsBy is fetchFlags in the order of a walk.
func (s *session) fetchFlagsBy(walk func(wire.Set, view.Want, func(uint32, *view.Columns, int, int) error) error, seqs wire.Set, uid, modSeq bool) {
	want := view.WantFlags | view.WantUID
	sel := s.sel
	if modSeq {
		want |= view.WantModSeq
		sel.told = true
	}
	walk(seqs, want, func(seq uint32, cols *view.Columns, lo, hi int) error {
		for i := lo; i < hi; i++ {
			b := s.appendFetch(s.out.Take(), seq, uint32(cols.UIDs[i]))
			if uid && !s.enabled.uidonly {
				b = append(b, "UID "...)
				b = strconv.AppendUint(b, uint64(cols.UIDs[i]), 10)
				b = append(b, ' ')
			}
			b = append(b, "FLAGS "...)
			b = sel.appendFlags(b, cols.Flags[i], s.isRecent(cols.UIDs[i]))
			if modSeq {
				b = append(b, " MODSEQ ("...)
				b = strconv.AppendUint(b, uint64(cols.ModSeqs[i]), 10)
				b = append(b, ')')
			}
			s.out.Give(append(b, ")\r\n"...))
			seq++
		}
		return s.out.Err()
	})
}

// isRecent tells whether an entry carries \Recent in this session (RFC 3501 §2.3.2); IMAP4rev2 has no such flag.
func (s *session) isRecent(uid mailbox.UID) bool { return uid >= s.sel.recent && !s.enabled.rev2 }
