package imap

import (
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// delete removes a mailbox (RFC 9051 §6.3.5).
func (s *session) delete(l *wire.Lexer) (reply, error) {
	l.Space()
	name := s.mailboxName(l)
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if name == "INBOX" {
		return no("CANNOT", "INBOX stays"), nil
	}
	at, err := s.locate(name)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := s.call()
	defer cancel()
	_, err = s.svc.deps.Mailboxes.Delete(ctx, &storev1.DeleteRequest{Account: uint64(at.owner), Actor: uint64(s.account), Name: at.name})
	if err != nil {
		return reply{}, err
	}
	if s.following != nil {
		s.following.removed(name)
	}
	if s.sel != nil && s.sel.name == name {
		s.leave()
		s.untagged("OK [CLOSED] selected mailbox deleted")
	}
	return reply{}, nil
}
