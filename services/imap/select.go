package imap

import (
	"strconv"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/presence"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// selectCommand opens a mailbox to be changed (RFC 9051 §6.3.2).
func (s *session) selectCommand(l *wire.Lexer) (reply, error) { return s.open(l, false) }

// examine opens it to be read only (RFC 9051 §6.3.3).
func (s *session) examine(l *wire.Lexer) (reply, error) { return s.open(l, true) }

func (s *session) open(l *wire.Lexer, readOnly bool) (reply, error) {
	l.Space()
	name := s.mailboxName(l)
	condstore := false
	var known *resync
	if l.Accept(' ') {
		parameters := 0
		l.List(func() {
			parameters++
			switch string(l.Word()) {
			case "CONDSTORE":
				condstore = true
			case "QRESYNC":
				known = s.parseResync(l)
			default:
				l.Fail("unknown parameter")
			}
		})
		if parameters == 0 {
			l.Fail("no parameter") // RFC 4466 §2.1
		}
	}
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if s.enabled.uidonly && known != nil && known.matchSeqs != nil {
		return errUIDRequired, nil // RFC 9586 §3.7
	}
	if condstore {
		s.enabled.condstore = true // what was selected before is of no concern any more
	}
	// A failed SELECT leaves nothing selected too.
	if s.sel != nil {
		s.leave()
		s.untagged("OK [CLOSED] previous mailbox closed")
	}
	n, err := s.mailbox(name)
	if err != nil {
		return reply{}, err
	}
	rights := s.rights(n)
	readOnly = readOnly || !rights.Any(acl.ReadWrite)
	if err := s.enter(n, readOnly); err != nil {
		return reply{}, err
	}
	s.sel.rights = rights
	s.tellSelected(n)
	if known != nil {
		if err := s.resynchronise(known); err != nil {
			s.leave()
			return reply{}, err
		}
	}
	if readOnly {
		return okCode("READ-ONLY", ""), nil
	}
	return okCode("READ-WRITE", ""), nil
}

// enter selects a mailbox.
func (s *session) enter(n *node, readOnly bool) error {
	id := mailbox.ID(n.GetId())
	takes := !readOnly && !s.enabled.rev2 && n.owner == s.account
	ctx, cancel := s.call()
	defer cancel()
	box, snap, err := s.svc.cache.Open(ctx, view.Key{Account: n.owner, Actor: s.account, ID: id}, takes)
	if err == view.ErrGone {
		return no("NONEXISTENT", "no such mailbox")
	}
	if err != nil {
		return err
	}
	s.sel = &selected{box: box, snap: snap, name: n.GetName(), readOnly: readOnly, takes: takes, recent: snap.RecentUID,
		keywords: snap.Keywords, heard: snap.HighestModSeq}
	if n.owner != s.account {
		s.sel.recent = mailbox.MaxUID // \Recent is told to the owner alone
	}
	if s.sel.recent == 0 {
		s.sel.recent = snap.UIDNext
	}
	s.svc.hub.add(s, n.owner, id)
	s.card.Change(func(c *presence.State) { c.Folder, c.ReadOnly = n.GetName(), readOnly })
	return nil
}

// tellSelected writes what SELECT tells (RFC 9051 §6.3.2, RFC 3501 §6.3.1, RFC 7162 §3.1.2, RFC 8474 §4.2, RFC 4467 §8).
func (s *session) tellSelected(n *node) {
	snap := s.sel.snap
	s.tellFlags()
	s.tellSize()
	if !s.enabled.rev2 && !s.enabled.uidonly {
		if seq := snap.FirstWithout(mailbox.Seen); seq > 0 {
			s.untagged("OK [UNSEEN " + strconv.FormatUint(uint64(seq), 10) + "] first unseen")
		}
	}
	s.untagged("OK [UIDVALIDITY " + strconv.FormatUint(uint64(snap.UIDValidity), 10) + "] UIDs valid")
	s.untagged("OK [UIDNEXT " + strconv.FormatUint(uint64(snap.UIDNext), 10) + "] next UID")
	s.untagged("OK [HIGHESTMODSEQ " + strconv.FormatUint(uint64(snap.HighestModSeq), 10) + "] highest")
	s.untagged("OK [MAILBOXID (" + mailbox.ObjectID('F', uint64(snap.ID)) + ")] id")
	if s.svc.deps.Keys != nil && n.owner == s.account {
		s.untagged("OK [URLMECH " + urlMechanism + "] URLs may be authorized")
	}
	if s.enabled.rev2 {
		s.writeList(n, &listRequest{})
	}
}
