package store

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// MaxOwners is of how many accounts Shared tells.
const MaxOwners = 1000

// sharing serves storev1.Sharing.
type sharing struct {
	storev1.UnimplementedSharingServer
	*Service
}

// target finds the list that a request is about, for somebody who may do need with it. An empty name is the whole
// account's, which is the business of those who have need in all of it.
func (s *sharing) target(ctx context.Context, req interface {
	asked
	GetMailbox() string
}, need acl.Rights) (mailbox.AccountID, mailbox.ID, acl.Rights, error) {
	if s.deps.Sharing == nil || s.deps.Directory == nil {
		return 0, 0, 0, status.Error(codes.Unimplemented, "nothing is shared here")
	}
	a, err := account(req.GetAccount())
	if err != nil {
		return 0, 0, 0, err
	}
	if req.GetMailbox() == "" {
		have := acl.All
		if foreign(req) {
			access, err := s.access(ctx, req, index.AccessQuery{Names: []string{}})
			if err != nil {
				return 0, 0, 0, err
			}
			have = access.Rights(0)
		}
		return a, 0, have, check(have, need)
	}
	name, err := boxName(req.GetMailbox())
	if err != nil {
		return 0, 0, 0, err
	}
	if foreign(req) {
		have, box, err := s.rightsNamed(ctx, req, name)
		if err != nil {
			return 0, 0, 0, err
		}
		if err = check(have, need); err != nil && !have.Has(acl.Lookup) {
			err = hidden() // its list is the matter of those alone whom LIST shows the mailbox (RFC 4314 §8)
		}
		return a, box, have, err
	}
	found, err := s.deps.Mailboxes.Find(ctx, a, []string{name}, nil)
	if err != nil {
		return 0, 0, 0, toStatus(err)
	}
	if len(found) != 1 || found[0].ID == 0 {
		return 0, 0, 0, hidden()
	}
	return a, found[0].ID, acl.All, nil
}

// GetACL tells a list (RFC 4314 §3.3), or all of an account. Who is no account or group any more is left out.
func (s *sharing) GetACL(ctx context.Context, req *storev1.GetACLRequest) (*storev1.GetACLResponse, error) {
	a, box, _, err := s.target(ctx, req, acl.Admin)
	if err != nil {
		return nil, err
	}
	var list []index.Grant
	names := map[mailbox.ID]string{}
	if req.GetAll() && box == 0 {
		boxes, _, err := s.deps.Mailboxes.List(ctx, a)
		if err != nil {
			return nil, toStatus(err)
		}
		for i := range boxes {
			names[boxes[i].ID] = boxes[i].Name
		}
		list, err = s.deps.Sharing.Grantees(ctx, a)
		if err != nil {
			return nil, toStatus(err)
		}
	} else if list, err = s.deps.Sharing.ACL(ctx, a, box); err != nil {
		return nil, toStatus(err)
	}
	var ids []mailbox.AccountID
	for _, g := range list {
		if id := acl.UserOf(g.Identifier); id != 0 && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	who, err := s.people.find(ctx, ids...)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.GetACLResponse{}
	for _, g := range list {
		text := g.Identifier
		if id := acl.UserOf(text); id != 0 {
			if text = who[id].address; text == "" {
				continue
			}
			if _, negative := acl.Split(g.Identifier); negative {
				text = acl.Negative(text)
			}
		}
		e := &storev1.ACLEntry{Identifier: text, Rights: g.Rights.String()}
		if g.Mailbox != 0 {
			e.Mailbox = names[g.Mailbox]
		}
		resp.Entries = append(resp.Entries, e)
	}
	slices.SortStableFunc(resp.Entries, func(a, b *storev1.ACLEntry) int { return strings.Compare(a.GetMailbox(), b.GetMailbox()) })
	return resp, nil
}

// SetACL changes one entry (RFC 4314 §3.1, §3.2).
func (s *sharing) SetACL(ctx context.Context, req *storev1.SetACLRequest) (*storev1.SetACLResponse, error) {
	a, box, _, err := s.target(ctx, req, acl.Admin)
	if err != nil {
		return nil, err
	}
	rights, err := acl.Parse(req.GetRights())
	if err != nil {
		return nil, invalid("%v", err)
	}
	if m := req.GetMode(); m < storev1.ACLMode_ACL_MODE_REPLACE || m > storev1.ACLMode_ACL_MODE_REMOVE {
		return nil, invalid("mode %d", m)
	}
	identifier, err := s.people.read(ctx, req.GetIdentifier())
	if err != nil {
		return nil, toStatus(err)
	}
	if acl.UserOf(identifier) == a {
		return nil, status.Error(codes.FailedPrecondition, "the owner has all rights, always")
	}
	seq, err := s.deps.Sharing.SetACL(ctx, index.ACLChange{
		Account: a, Mailbox: box, Identifier: identifier, Mode: index.ACLMode(req.GetMode()), Rights: rights,
	})
	if err != nil {
		return nil, toStatus(err)
	}
	s.changed(a, seq)
	return &storev1.SetACLResponse{}, nil
}

// MyRights tells what actor has (RFC 4314 §3.5): anything of l, r, i, k, x and a lets it know.
func (s *sharing) MyRights(ctx context.Context, req *storev1.MyRightsRequest) (*storev1.MyRightsResponse, error) {
	_, _, have, err := s.target(ctx, req, acl.None)
	if err != nil {
		return nil, err
	}
	if !have.Any(acl.Lookup | acl.Read | acl.Insert | acl.Create | acl.Delete | acl.Admin) {
		return nil, hidden()
	}
	return &storev1.MyRightsResponse{Rights: have.String()}, nil
}

// ask is a request about an account that the store makes itself.
type ask struct{ account, actor uint64 }

func (a ask) GetAccount() uint64 { return a.account }
func (a ask) GetActor() uint64   { return a.actor }

// Shared tells what is shared with an account, by the hints of its identifiers: what others have given to others costs nothing.
func (s *sharing) Shared(req *storev1.SharedRequest, stream grpc.ServerStreamingServer[storev1.SharedResponse]) error {
	ctx := stream.Context()
	actor, err := account(req.GetActor())
	if err != nil {
		return err
	}
	if s.deps.Sharing == nil || s.deps.Directory == nil {
		return nil
	}
	identifiers, err := s.people.identifiers(ctx, actor)
	if err != nil {
		return toStatus(err)
	}
	owners, err := s.deps.Sharing.Owners(ctx, identifiers, 0, MaxOwners)
	if err != nil {
		return toStatus(err)
	}
	owners = slices.DeleteFunc(owners, func(id mailbox.AccountID) bool { return id == actor })
	who, err := s.people.find(ctx, owners...)
	if err != nil {
		return toStatus(err)
	}
	for _, owner := range owners {
		if who[owner].address == "" {
			continue // gone
		}
		list, err := s.listFor(ctx, ask{uint64(owner), uint64(actor)})
		if err != nil {
			return err
		}
		if len(list.GetMailboxes()) == 0 {
			continue
		}
		err = stream.Send(&storev1.SharedResponse{
			Account: uint64(owner), Address: who[owner].address, Shared: who[owner].shared, Mailboxes: list.GetMailboxes(),
		})
		if err != nil {
			return err
		}
	}
	return nil
}
