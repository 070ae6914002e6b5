package imap

import (
	"slices"

	"github.com/mailfarm/mailfarm/internal/acl"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// closeCommand expunges in silence and leaves the mailbox (RFC 9051 §6.4.1).
func (s *session) closeCommand(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	var r reply
	if !s.sel.readOnly && s.sel.rights.Has(acl.Expunge) {
		ctx, cancel := s.call()
		defer cancel()
		resp, err := s.svc.deps.Mailboxes.Expunge(ctx, &storev1.ExpungeRequest{
			Account: s.sel.owner(), Actor: uint64(s.account), Mailbox: uint64(s.sel.snap.ID),
		})
		if err != nil {
			return reply{}, err
		}
		if s.enabled.qresync && len(resp.GetExpunged()) > 0 {
			r = s.highestAfter(resp)
		}
	}
	s.leave()
	return r, nil
}

// highestAfter is HIGHESTMODSEQ behind the expunge of CLOSE (RFC 7162 §3.2.8). What went is not told, and the client takes the
// number for the state of all that it knows: where others changed the mailbox too, of which it has not heard, it gets none.
func (s *session) highestAfter(resp *storev1.ExpungeResponse) reply {
	gone, err := unpackUIDs(resp.GetExpunged())
	if err != nil || s.refresh() != nil {
		return reply{}
	}
	to, delta, err := s.sel.snap.Advance(s.sel.box.Current(), false, nil)
	if err != nil || delta.Grown || len(delta.Changed) > 0 || !slices.Equal(s.sel.snap.UIDs(delta.Expunged), gone) {
		return reply{}
	}
	return okCode(highest(to.HighestModSeq), "")
}

// unselectCommand leaves the mailbox as it is (RFC 9051 §6.4.2).
func (s *session) unselectCommand(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	s.leave()
	return reply{}, nil
}
