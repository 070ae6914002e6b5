package store

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/acl"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Delete removes a mailbox with its entries (RFC 9051 §6.3.5).
func (s *mailboxes) Delete(ctx context.Context, req *storev1.DeleteRequest) (*storev1.DeleteResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	name, err := boxName(req.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.mayNamed(ctx, req, name, acl.Delete); err != nil {
		return nil, err
	}
	seq, err := s.deps.Mailboxes.Delete(ctx, a, name)
	if err != nil {
		return nil, toStatus(err)
	}
	s.changed(a, seq)
	return &storev1.DeleteResponse{}, nil
}
