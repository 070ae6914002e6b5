package store

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
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
	r, err := s.expungeThese(ctx, req, a, box, uids)
	if err != nil {
		return nil, toStatus(err)
	}
	if len(r.Expunged) > 0 {
		s.changed(a, r.ModSeq, box)
	}
	resp := &storev1.ExpungeResponse{Expunged: mailbox.AppendUIDSet(nil, r.Expunged), ModSeq: uint64(r.ModSeq)}
	if since := req.GetSinceModSeq(); since != 0 && since == uint64(r.Before) {
		resp.HighestModSeq = uint64(r.After)
	}
	return resp, nil
}

func (s *mailboxes) expungeThese(ctx context.Context, req *storev1.ExpungeRequest, a mailbox.AccountID, box mailbox.ID, uids mailbox.UIDSet) (index.ExpungeResult, error) {
	switch {
	case len(uids) > 0:
		return s.deps.Mailboxes.Expunge(ctx, a, box, uids, req.GetForce())
	case req.GetForce():
		return s.deps.Mailboxes.Expunge(ctx, a, box, mailbox.UIDSet{{First: 1, Last: mailbox.MaxUID}}, true)
	}
	likely, err := uidSet(req.GetLikely())
	if err != nil {
		return index.ExpungeResult{}, err
	}
	return s.deps.Mailboxes.ExpungeDeleted(ctx, a, box, likely)
}
