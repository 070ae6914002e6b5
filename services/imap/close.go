package imap

import (
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// closeCommand expunges in silence and leaves the mailbox (RFC 9051 §6.4.1).
func (s *session) closeCommand(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if !s.sel.readOnly {
		ctx, cancel := s.call()
		defer cancel()
		_, err := s.svc.deps.Mailboxes.Expunge(ctx, &storev1.ExpungeRequest{
			Account: uint64(s.account), Mailbox: uint64(s.sel.snap.ID),
		})
		if err != nil {
			return reply{}, err
		}
	}
	s.leave()
	return reply{}, nil
}

// unselectCommand leaves the mailbox as it is (RFC 9051 §6.4.2).
func (s *session) unselectCommand(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	s.leave()
	return reply{}, nil
}
