package store

import (
	"context"
	"errors"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/reply"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Rename moves a mailbox and its inferiors, or the messages of INBOX (RFC 9051 §6.3.6).
func (s *mailboxes) Rename(ctx context.Context, req *storev1.RenameRequest) (*storev1.RenameResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	from, err := boxName(req.GetFrom())
	if err != nil {
		return nil, err
	}
	to, err := boxName(req.GetTo())
	if err != nil {
		return nil, err
	}
	need := acl.Delete
	if from == index.Inbox {
		need |= acl.Read | acl.Deleted | acl.Expunge // its messages move
	}
	if err := s.mayNamed(ctx, req, from, need); err != nil {
		return nil, err
	}
	if err := s.mayCreate(ctx, req, to, ""); err != nil {
		return nil, err
	}
	seq, err := s.deps.Mailboxes.Rename(ctx, a, from, to)
	if errors.Is(err, index.ErrOverQuota) {
		// With a verdict, which tells it from too many mailboxes.
		return nil, reply.Transient(452, "4.2.2", "mailbox full").Because(err)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	s.changed(a, seq)
	return &storev1.RenameResponse{}, nil
}
