package store

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// MaxFind is how many mailboxes one Find asks for.
const MaxFind = 1000

// Find tells some mailboxes of an account. A name that none can have is one that is not there.
func (s *mailboxes) Find(ctx context.Context, req *storev1.FindRequest) (*storev1.FindResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	if n := len(req.GetNames()) + len(req.GetIds()); n > MaxFind {
		return nil, invalid("%d mailboxes, more than %d", n, MaxFind)
	}
	names := make([]string, len(req.GetNames()))
	for i, name := range req.GetNames() {
		if names[i], err = boxName(name); err != nil {
			names[i] = ""
		}
	}
	ids := make([]mailbox.ID, len(req.GetIds()))
	for i, id := range req.GetIds() {
		if id < 1<<63 {
			ids[i] = mailbox.ID(id)
		}
	}
	found, err := s.deps.Mailboxes.Find(ctx, a, names, ids)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.FindResponse{Found: make([]*storev1.FoundMailbox, len(found))}
	for i := range found {
		resp.Found[i] = &storev1.FoundMailbox{}
		f := &found[i]
		if f.ID == 0 {
			continue
		}
		if !foreign(req) {
			resp.Found[i] = &storev1.FoundMailbox{Mailbox: fromMailbox(&f.Mailbox), Children: f.Children}
			continue
		}
		have, err := s.rightsOn(ctx, req, f.ID)
		if err != nil && status.Code(err) != codes.NotFound {
			return nil, err
		}
		// Who may read it can select it, also where LIST does not show it (RFC 4314 §4).
		if have.Any(acl.Lookup | acl.Read) {
			resp.Found[i] = &storev1.FoundMailbox{Mailbox: seenBy(&f.Mailbox, have), Children: f.Children}
		}
	}
	return resp, nil
}
