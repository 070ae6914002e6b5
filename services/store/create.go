package store

import (
	"context"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Create makes a mailbox and the levels above it (RFC 9051 §6.3.4).
func (s *mailboxes) Create(ctx context.Context, req *storev1.CreateRequest) (*storev1.CreateResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	name, err := boxName(req.GetName())
	if err != nil {
		return nil, err
	}
	use, err := specialUse(req.GetSpecialUse())
	if err != nil {
		return nil, err
	}
	if err := s.mayCreate(ctx, req, name, use); err != nil {
		return nil, err
	}
	m, seq, err := s.deps.Mailboxes.Create(ctx, a, name, use)
	if err != nil {
		return nil, toStatus(err)
	}
	s.changed(a, seq)
	return &storev1.CreateResponse{Mailbox: fromMailbox(&m)}, nil
}
