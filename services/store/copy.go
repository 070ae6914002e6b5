package store

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Copy files the same emails in another mailbox (RFC 9051 §6.4.7).
func (s *mailboxes) Copy(ctx context.Context, req *storev1.CopyRequest) (*storev1.CopyResponse, error) {
	a, box, uids, err := messages(req)
	if err != nil {
		return nil, err
	}
	target, err := boxName(req.GetTarget())
	if err != nil {
		return nil, err
	}
	if err := s.may(ctx, req, box, acl.Read); err != nil {
		return nil, err
	}
	if err := s.mayNamed(ctx, req, target, acl.Insert); err != nil {
		return nil, err
	}
	r, err := s.copying(ctx, req, index.Copying{Account: a, Source: box, UIDs: uids, Target: target})
	if err != nil {
		return nil, toStatus(err)
	}
	if len(r.Copies) > 0 {
		s.changed(a, r.ModSeq, r.Target)
	}
	return &storev1.CopyResponse{UidValidity: uint32(r.UIDValidity),
		SourceUids: mailbox.AppendUIDSet(nil, r.Source), TargetUids: mailbox.AppendUIDSet(nil, r.Copies)}, nil
}
