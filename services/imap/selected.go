package imap

import (
	"math/bits"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/presence"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// selected is the mailbox that a session works on.
type selected struct {
	box *view.Box
	// snap is what the client knows.
	snap     *view.Snapshot
	name     string
	readOnly bool
	// rights are the session's when it selected the mailbox: the store asks anew with every call.
	rights acl.Rights
	// takes tells that the session takes \Recent from later ones.
	takes bool
	// recent is the first UID that carries \Recent here.
	recent mailbox.UID
	// saved is the result of the last SEARCH with SAVE (RFC 9051 §6.4.4.1): UIDs.
	saved wire.Set
	// heard is up to where the client has heard of all changes: not of those behind it, where messages went of which it could
	// not be told yet. told says that it got MODSEQs since it was last told of that, and lowered that it was told so.
	heard         mailbox.ModSeq
	told, lowered bool
	// filed are messages that the session filed here itself while it asked to be told of new ones: UIDs.
	filed wire.Set
	// contexts are results that are kept up to date.
	contexts []*searchContext

	// keywords are those the client has been told, in the order of their bits.
	keywords []string
	// full tells that the client was told that no keyword can be made.
	full bool
	// The last flags written, and how: neighbours mostly have the same.
	lastFlags  mailbox.Flags
	lastRecent bool
	lastText   []byte
}

// owner is the account that has the mailbox: the session's own, or another where the mailbox is shared.
func (sel *selected) owner() uint64 { return uint64(sel.snap.Account) }

func (sel *selected) setKeywords(keywords []string) {
	sel.keywords = keywords
	sel.lastText = sel.lastText[:0]
}

var systemFlags = [...]struct {
	bit  mailbox.Flags
	name string
}{
	{mailbox.Answered, `\Answered`}, {mailbox.Flagged, `\Flagged`}, {mailbox.Deleted, `\Deleted`},
	{mailbox.Seen, `\Seen`}, {mailbox.Draft, `\Draft`},
}

// appendFlags writes flags in parentheses.
func (sel *selected) appendFlags(b []byte, flags mailbox.Flags, recent bool) []byte {
	if flags == sel.lastFlags && recent == sel.lastRecent && len(sel.lastText) > 0 {
		return append(b, sel.lastText...)
	}
	t := append(sel.lastText[:0], '(')
	for _, f := range systemFlags {
		if flags&f.bit != 0 {
			t = append(append(t, f.name...), ' ')
		}
	}
	for kw := flags >> mailbox.KeywordShift; kw != 0; kw &= kw - 1 {
		if i := bits.TrailingZeros64(uint64(kw)); i < len(sel.keywords) {
			t = append(append(t, sel.keywords[i]...), ' ')
		}
	}
	if recent {
		t = append(t, `\Recent `...)
	}
	if n := len(t); t[n-1] == ' ' {
		t[n-1] = ')'
	} else {
		t = append(t, ')')
	}
	sel.lastFlags, sel.lastRecent, sel.lastText = flags, recent, t
	return append(b, t...)
}

// unselect leaves the selected mailbox, if any, and hears of no other.
func (s *session) unselect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave()
	s.unfollow()
}

// leave is unselect with the lock held.
func (s *session) leave() {
	if s.sel == nil {
		return
	}
	s.svc.hub.remove(s, s.sel.snap.Account)
	s.sel.box.Close(s.sel.takes)
	s.sel = nil
	s.card.Change(func(c *presence.State) { c.Folder, c.ReadOnly = "", false })
	s.dirty.Store(false)
}

// searchSeqs is seqs for a search key: numbers beyond the last message are no error there (RFC 7377 §2).
func (s *session) searchSeqs(set wire.Set, saved, uid bool) (wire.Set, error) {
	if saved || uid || s.enabled.uidonly {
		return s.seqs(set, saved, uid)
	}
	s.numbered = true
	n := s.sel.snap.Len()
	if n == 0 {
		return nil, nil
	}
	return set.Resolve(n).Intersect(wire.Set{{First: 1, Last: n}}), nil
}

// seqs turns a set of a command into sequence numbers. Numbers beyond the mailbox are a fault of the client (RFC 9051 §9
// seq-number); UIDs that are not there are passed over.
func (s *session) seqs(set wire.Set, saved, uid bool) (wire.Set, error) {
	snap := s.sel.snap
	switch {
	case saved:
		return snap.Seqs(s.sel.saved), nil
	case uid:
		// "*" is the last message's UID (RFC 9051 §9); in an empty mailbox there is none.
		return snap.Seqs(set.Resolve(uint32(snap.MaxUID()))), nil
	}
	if s.enabled.uidonly {
		return nil, errUIDRequired
	}
	n := snap.Len()
	for _, r := range set {
		if r.First > n || r.Last > n {
			// QUIRK: "1:*" of an empty mailbox is asked for by many clients and is nothing.
			if n == 0 && (r.First == wire.Star || r.Last == wire.Star) {
				continue
			}
			return nil, bad("no message with that number")
		}
	}
	if n == 0 {
		return nil, nil
	}
	return set.Resolve(n), nil
}
