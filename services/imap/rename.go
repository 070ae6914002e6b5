package imap

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	verdict "github.com/mailfarm/mailfarm/internal/reply"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// rename gives a mailbox and its inferiors another name (RFC 9051 §6.3.6).
func (s *session) rename(l *wire.Lexer) (reply, error) {
	l.Space()
	from := s.mailboxName(l)
	l.Space()
	to := s.newName(l)
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if r := checkName(to); r.status != "" {
		return r, nil
	}
	if r := s.svc.reserved(to); r.status != "" {
		return r, nil
	}
	if strings.HasPrefix(to, from+separator) && from != "INBOX" {
		return no("CANNOT", "a mailbox cannot move below itself"), nil
	}
	source, err := s.locate(from)
	if err != nil {
		return reply{}, err
	}
	target, err := s.locate(to)
	if err != nil {
		return reply{}, err
	}
	if source.owner != target.owner {
		return no("CANNOT", "a mailbox stays in its account"), nil
	}
	if r := checkLevels(target.name); r.status != "" {
		return r, nil
	}
	ctx, cancel := s.call()
	defer cancel()
	_, err = s.svc.deps.Mailboxes.Rename(ctx, &storev1.RenameRequest{
		Account: uint64(source.owner), Actor: uint64(s.account), From: source.name, To: target.name,
	})
	if err != nil && verdict.Of(err).Enhanced == mailboxFull {
		return errNoRoom, nil
	}
	switch status.Code(err) {
	case codes.OK:
	case codes.ResourceExhausted:
		return errManyMailboxes, nil
	case codes.FailedPrecondition:
		return errManyLevels, nil // of a mailbox below it: the rest was looked at before
	default:
		return reply{}, err
	}
	if s.following != nil && from != "INBOX" {
		s.following.renamed(from, to)
	}
	s.made(to, target)
	if s.sel != nil && from != "INBOX" && (s.sel.name == from || strings.HasPrefix(s.sel.name, from+separator)) {
		s.sel.name = to + s.sel.name[len(from):]
	}
	if s.sel != nil && from == "INBOX" && s.sel.name == from {
		s.dirty.Store(true)
	}
	return reply{}, nil
}
