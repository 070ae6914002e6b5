package store

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Expunge removes entries (RFC 9051 §6.4.3, §6.4.9). Without UIDs it means all of them.
func (s *mailboxes) Expunge(ctx context.Context, req *storev1.ExpungeRequest) (*storev1.ExpungeResponse, error) {
	a, box, uids, err := messages(req)
	if err != nil {
		return nil, err
	}
	if err := s.may(ctx, req, box, acl.Expunge); err != nil {
		return nil, err
	}
	if len(uids) == 0 {
		uids = mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}}
	}
	r, err := s.deps.Mailboxes.Expunge(ctx, a, box, uids, req.GetForce())
	if err != nil {
		return nil, toStatus(err)
	}
	if len(r.Expunged) > 0 {
		s.changed(a, r.ModSeq, box)
	}
	return &storev1.ExpungeResponse{Expunged: mailbox.AppendUIDSet(nil, r.Expunged), ModSeq: uint64(r.ModSeq)}, nil
}
