package imap

import (
	"context"
	"math"
	"slices"
	"strconv"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/services/imap/internal/search"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// Limits of the results that one session has kept up to date (RFC 5267 §4.3): more are refused by NOUPDATE.
const (
	contextsMax = 16
	// contextSorted is how many messages a sorted result has: each change sorts it anew.
	contextSorted = 20_000
)

// searchContext is the result of a SEARCH or SORT that is kept up to date in the selected mailbox (RFC 5267 §4).
type searchContext struct {
	tag string
	uid bool
	key *search.Key
	// items are told of messages that are new here and in the result.
	items []item
	// criteria are a SORT's, and order is its result, UIDs.
	criteria []criterion
	order    []uint32
	// uids are the members.
	uids wire.Set
	// modSeq is up to where changes were looked at.
	modSeq mailbox.ModSeq
}

// mayUpdate tells, by no error, that the tag is not that of a result that is kept up to date already (RFC 5267 §4.3).
func (s *session) mayUpdate(req *searchRequest) error {
	if req.update && slices.ContainsFunc(s.sel.contexts, func(c *searchContext) bool { return c.tag == string(s.tag) }) {
		return bad("a result of that tag is kept up to date already")
	}
	return nil
}

// usesNumbers tells whether a key asks for message numbers, or for a saved result: what they mean changes by itself.
func usesNumbers(key *search.Key, s *session) bool {
	uses := false
	env := &search.Env{Keywords: s.sel.keywords, Now: s.svc.deps.Now(), Seqs: func(set wire.Set, saved, uid bool) (wire.Set, error) {
		uses = uses || saved || !uid
		return s.searchSeqs(set, saved, uid)
	}}
	return key.Bind(env) != nil || uses
}

// beginContext keeps a result up to date from now on, as UPDATE asks for (RFC 5267 §4.3.1), where that costs little: not where
// texts would have to be read.
func (s *session) beginContext(req *searchRequest, f *found, criteria []criterion, order []uint32) {
	if !req.update {
		return
	}
	sel := s.sel
	tag := string(s.tag)
	if len(sel.contexts) >= contextsMax || req.key.ReadsText() || len(order) > contextSorted || s.messageLimit() > 0 || usesNumbers(req.key, s) {
		s.noUpdate(tag)
		return
	}
	c := &searchContext{tag: tag, uid: req.uid, key: req.key, items: req.items, criteria: criteria, uids: sel.snap.UIDs(f.seqs), modSeq: sel.snap.HighestModSeq}
	for _, n := range order {
		if !req.uid {
			n = uint32(sel.snap.UID(n))
		}
		c.order = append(c.order, n)
	}
	sel.contexts = append(sel.contexts, c)
}

// noUpdate tells that a result is not kept up to date, or no longer (RFC 5267 §4.3.1, §4.3.5).
func (s *session) noUpdate(tag string) {
	b := wire.AppendString(append(s.out.Take(), "* NO [NOUPDATE "...), tag, false)
	s.out.Give(append(b, "] result is not kept up to date\r\n"...))
}

// cancelUpdate ends what UPDATE began (RFC 5267 §4.3.6).
func (s *session) cancelUpdate(l *wire.Lexer) (reply, error) {
	var tags []string
	for first := true; first || l.Accept(' '); first = false {
		if first {
			l.Space()
		}
		tags = append(tags, string(l.String()))
		if len(tags) > contextsMax {
			l.Fail("too many tags")
		}
	}
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	for _, tag := range tags {
		if !slices.ContainsFunc(s.sel.contexts, func(c *searchContext) bool { return c.tag == tag }) {
			return bad("no result of that tag is kept up to date"), nil
		}
	}
	s.sel.contexts = slices.DeleteFunc(s.sel.contexts, func(c *searchContext) bool { return slices.Contains(tags, c.tag) })
	return reply{}, nil
}

// contextsExpunged tells what results lose by messages that go, by numbers as they are before they go (RFC 5267 §4.3.4).
func (s *session) contextsExpunged(gone wire.Set) {
	if len(s.sel.contexts) == 0 || len(gone) == 0 {
		return
	}
	uids := s.sel.snap.UIDs(gone)
	for _, c := range s.sel.contexts {
		s.tellContext(c, c.uids.Intersect(uids), nil, c.order)
	}
}

// contextsChanged looks at what is new or was changed, and tells what results gain and lose by it. Messages above known are new.
func (s *session) contextsChanged(known mailbox.UID) {
	s.sel.contexts = slices.DeleteFunc(s.sel.contexts, func(c *searchContext) bool {
		err := s.updateContext(c, known)
		if err != nil {
			s.log.Warn("result not kept up to date", obs.Error(err))
			s.noUpdate(c.tag)
		}
		return err != nil
	})
}

func (s *session) updateContext(c *searchContext, known mailbox.UID) error {
	snap := s.sel.snap
	changed := snap.ChangedSince(c.modSeq, snap.All())
	c.modSeq = snap.HighestModSeq
	if len(changed) == 0 {
		return nil
	}
	if err := c.key.Bind(&search.Env{Keywords: s.sel.keywords, Seqs: s.seqs, Now: s.svc.deps.Now()}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.svc.cfg.SearchTimeout)
	defer cancel()
	f, err := s.runOn(ctx, c.key, changed)
	if err != nil {
		return err
	}
	looked, now := snap.UIDs(changed), snap.UIDs(f.seqs)
	removed, added := c.uids.Intersect(looked).Less(now), now.Less(c.uids)
	if len(removed) == 0 && len(added) == 0 {
		return nil
	}
	order := c.order
	if c.criteria != nil && len(added) > 0 {
		members := snap.Seqs(append(slices.Clone(c.uids.Less(removed)), added...).Join())
		if members.Count() > contextSorted {
			return no("LIMIT", "too many messages to keep them sorted")
		}
		if order, err = s.order(&found{seqs: members, loose: f.loose}, c.criteria, true); err != nil {
			return err
		}
	}
	if err := s.fetchAdded(c, added, known); err != nil {
		return err
	}
	s.tellContext(c, removed, added, order)
	return nil
}

// fetchAdded tells what is wanted of new messages that a result gains, before it gains them (RFC 5465 §7). Those that the
// session filed itself are none.
func (s *session) fetchAdded(c *searchContext, added wire.Set, known mailbox.UID) error {
	if len(c.items) == 0 {
		return nil
	}
	fresh := added.Intersect(wire.Set{{First: uint32(known) + 1, Last: math.MaxUint32}}).Less(s.sel.filed)
	f := &fetcher{s: s, items: c.items, needs: needsOf(c.items)}
	return f.run(s.sel.snap.Seqs(fresh))
}

// tellContext writes a change and makes it: the places of what goes are those of before, from the end on, and of what comes
// those in order; a result that is not sorted has no places (RFC 5267 §4.3.2, §4.3.3).
func (s *session) tellContext(c *searchContext, removed, added wire.Set, order []uint32) {
	if len(removed) == 0 && len(added) == 0 {
		return
	}
	b := wire.AppendString(append(s.out.Take(), "* ESEARCH (TAG "...), c.tag, false)
	b = append(b, ')')
	if c.uid {
		b = append(b, " UID"...)
	}
	number := func(uid uint32) uint64 {
		if c.uid {
			return uint64(uid)
		}
		return uint64(s.sel.snap.Rank(mailbox.UID(uid))) + 1
	}
	set := func(uids wire.Set) wire.Set {
		if c.uid {
			return uids
		}
		return s.sel.snap.Seqs(uids)
	}
	place := func(at int, uid uint32) {
		if b[len(b)-1] != '(' {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, int64(at)+1, 10)
		b = strconv.AppendUint(append(b, ' '), number(uid), 10)
	}
	if len(removed) > 0 {
		b = append(b, " REMOVEFROM ("...)
		if c.criteria == nil {
			b = wire.AppendSet(append(b, "0 "...), set(removed))
		}
		for i := len(c.order) - 1; i >= 0; i-- {
			if removed.Contains(c.order[i]) {
				place(i, c.order[i])
			}
		}
		b = append(b, ')')
	}
	if len(added) > 0 {
		b = append(b, " ADDTO ("...)
		if c.criteria == nil {
			b = wire.AppendSet(append(b, "0 "...), set(added))
		} else {
			for i, uid := range order {
				if added.Contains(uid) {
					place(i, uid)
				}
			}
		}
		b = append(b, ')')
	}
	s.out.Give(append(b, "\r\n"...))
	c.uids = append(slices.Clone(c.uids.Less(removed)), added...).Join()
	c.order = slices.DeleteFunc(slices.Clone(order), func(uid uint32) bool { return removed.Contains(uid) })
}
