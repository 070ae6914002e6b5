package store

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Move is Copy and expunge in one step (RFC 6851 §3.3).
func (s *mailboxes) Move(ctx context.Context, req *storev1.MoveRequest) (*storev1.MoveResponse, error) {
	a, box, uids, err := messages(req)
	if err != nil {
		return nil, err
	}
	target, err := boxName(req.GetTarget())
	if err != nil {
		return nil, err
	}
	if err := s.may(ctx, req, box, acl.Read|acl.Deleted|acl.Expunge); err != nil {
		return nil, err
	}
	if err := s.mayNamed(ctx, req, target, acl.Insert); err != nil {
		return nil, err
	}
	r, err := s.copying(ctx, req, index.Copying{Account: a, Source: box, UIDs: uids, Target: target, Move: true})
	if err != nil {
		return nil, toStatus(err)
	}
	if len(r.Copies) > 0 {
		s.changed(a, r.ModSeq, box, r.Target)
	}
	return &storev1.MoveResponse{UidValidity: uint32(r.UIDValidity), ModSeq: uint64(r.ModSeq),
		SourceUids: mailbox.AppendUIDSet(nil, r.Source), TargetUids: mailbox.AppendUIDSet(nil, r.Copies)}, nil
}
