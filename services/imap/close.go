package imap

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// closeCommand expunges in silence and leaves the mailbox (RFC 9051 §6.4.1). What went is not told, so HIGHESTMODSEQ is not
// either (RFC 7162 §3.2.8).
func (s *session) closeCommand(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if !s.sel.readOnly && s.sel.rights.Has(acl.Expunge) {
		ctx, cancel := s.call()
		defer cancel()
		_, err := s.svc.deps.Mailboxes.Expunge(ctx, s.expungeRequest(nil, s.sel.box.Current()))
		// The right may have gone since the mailbox was selected: it is closed all the same (RFC 4314 §4).
		if err != nil && status.Code(err) != codes.PermissionDenied {
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
