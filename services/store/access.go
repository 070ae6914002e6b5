package store

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// asked is what every request about an account's mailboxes tells: whose they are, and who asks.
type asked interface {
	GetAccount() uint64
	GetActor() uint64
}

// foreign tells whether somebody else than the owner asks.
func foreign(req asked) bool { return req.GetActor() != 0 && req.GetActor() != req.GetAccount() }

// hidden is what somebody is told who may not know that a mailbox is there (RFC 4314 §6), or where there is none.
func hidden() error { return status.Error(codes.NotFound, index.ErrNoMailbox.Error()) }

// check tells, by no error, that rights are enough. Who may look up or read a mailbox knows that it is there.
func check(have, need acl.Rights) error {
	switch {
	case have.Has(need):
		return nil
	case have.Any(acl.Lookup | acl.Read):
		return status.Errorf(codes.PermissionDenied, "the right %q is needed here", need&^have)
	}
	return hidden()
}

// access looks up what actor has in mailboxes of an account.
func (s *Service) access(ctx context.Context, req asked, q index.AccessQuery) (index.Access, error) {
	if s.deps.Sharing == nil || s.deps.Directory == nil || req.GetActor() >= 1<<63 {
		return index.Access{}, hidden()
	}
	var err error
	if q.Account, err = account(req.GetAccount()); err != nil {
		return index.Access{}, err
	}
	if q.Identifiers, err = s.people.identifiers(ctx, mailbox.AccountID(req.GetActor())); err != nil {
		return index.Access{}, toStatus(err)
	}
	a, err := s.deps.Sharing.Access(ctx, q)
	return a, toStatus(err)
}

// may tells, by no error, that who asks has all of need on a mailbox. The owner has, without a look; another without need is
// told PERMISSION_DENIED, and NOT_FOUND where even that the mailbox is there is not for him to know (RFC 4314 §6).
func (s *Service) may(ctx context.Context, req asked, box mailbox.ID, need acl.Rights) error {
	if !foreign(req) {
		return nil
	}
	have, err := s.rightsOn(ctx, req, box)
	if err != nil {
		return err
	}
	return check(have, need)
}

// rightsOn is what somebody who is not the owner may do with a mailbox.
func (s *Service) rightsOn(ctx context.Context, req asked, box mailbox.ID) (acl.Rights, error) {
	if box == 0 {
		return 0, hidden()
	}
	a, err := s.access(ctx, req, index.AccessQuery{Box: box})
	return a.Rights(box), err
}

// mayNamed is may for a mailbox by its name, as boxName has checked it.
func (s *Service) mayNamed(ctx context.Context, req asked, name string, need acl.Rights) error {
	if !foreign(req) {
		return nil
	}
	have, _, err := s.rightsNamed(ctx, req, name)
	if err != nil {
		return err
	}
	return check(have, need)
}

// rightsNamed is what somebody who is not the owner may do with a mailbox.
func (s *Service) rightsNamed(ctx context.Context, req asked, name string) (acl.Rights, mailbox.ID, error) {
	a, err := s.access(ctx, req, index.AccessQuery{Names: []string{name}})
	if err != nil {
		return 0, 0, err
	}
	id, ok := a.Named[name]
	if !ok {
		return 0, 0, hidden()
	}
	return a.Rights(id), id, nil
}

// mayCreate tells whether who asks may make a mailbox: with k on the nearest one above it that there is, or on the whole
// account where there is none. A special use is a matter of the account, and wants a too.
func (s *Service) mayCreate(ctx context.Context, req asked, name, specialUse string) error {
	if !foreign(req) {
		return nil
	}
	names := []string{}
	for i, c := range name {
		if c == '/' {
			names = append(names, name[:i])
		}
	}
	a, err := s.access(ctx, req, index.AccessQuery{Names: names})
	if err != nil {
		return err
	}
	need := acl.Create
	if specialUse != "" {
		need |= acl.Admin
	}
	for len(names) > 0 {
		if id, ok := a.Named[names[len(names)-1]]; ok {
			return check(a.Rights(id), need)
		}
		names = names[:len(names)-1]
	}
	return check(a.Rights(0), need)
}

// right is what changing a flag takes (RFC 4314 §4).
func right(flag string) acl.Rights {
	switch {
	case strings.EqualFold(flag, `\Seen`):
		return acl.Seen
	case strings.EqualFold(flag, `\Deleted`):
		return acl.Deleted
	}
	return acl.Write
}

// permitted leaves out the flags that somebody with these rights may not set.
func permitted(flags []string, have acl.Rights) []string {
	out := make([]string, 0, len(flags))
	for _, f := range flags {
		if have.Has(right(f)) {
			out = append(out, f)
		}
	}
	return out
}

// mayFlag tells which of flags who asks may change, and which ones are to stay as they are: a change fails only where none
// of it is permitted (RFC 4314 §4).
func (s *Service) mayFlag(ctx context.Context, req *storev1.FlagRequest, box mailbox.ID, flags []string) ([]string, mailbox.Flags, error) {
	if !foreign(req) {
		return flags, 0, nil
	}
	have, err := s.rightsOn(ctx, req, box)
	if err == nil && !have.Any(acl.Seen|acl.Write|acl.Deleted) {
		err = check(have, acl.Write)
	}
	if err != nil {
		return nil, 0, err
	}
	may := permitted(flags, have)
	if len(may) == 0 && len(flags) > 0 {
		return nil, 0, check(have, right(flags[0]))
	}
	return may, kept(have), nil
}

// kept are the flags that somebody with these rights may not change.
func kept(have acl.Rights) (keep mailbox.Flags) {
	if !have.Has(acl.Write) {
		keep = ^(mailbox.Seen | mailbox.Deleted)
	}
	if !have.Has(acl.Seen) {
		keep |= mailbox.Seen
	}
	if !have.Has(acl.Deleted) {
		keep |= mailbox.Deleted
	}
	return keep
}

// listFor is List for somebody who is not the owner: what he may look up, and counters of what he may read.
func (s *Service) listFor(ctx context.Context, req asked) (*storev1.ListResponse, error) {
	a, err := s.access(ctx, req, index.AccessQuery{})
	if err != nil {
		return nil, err
	}
	if len(a.Grants) == 0 {
		return &storev1.ListResponse{}, nil
	}
	list, seq, err := s.deps.Mailboxes.List(ctx, mailbox.AccountID(req.GetAccount()))
	if err != nil {
		return nil, toStatus(err)
	}
	sums := make(map[mailbox.ID]acl.Sum, len(a.Grants))
	for _, g := range a.Grants {
		sum := sums[g.Mailbox]
		sum.Add(g.Identifier, g.Rights)
		sums[g.Mailbox] = sum
	}
	resp := &storev1.ListResponse{ModSeq: uint64(seq)}
	for i := range list {
		m := &list[i]
		if m.ID == 0 {
			continue
		}
		all, own := sums[0], sums[m.ID]
		have := (all.Given | own.Given) &^ (all.Taken | own.Taken)
		if !have.Has(acl.Lookup) {
			continue
		}
		resp.Mailboxes = append(resp.Mailboxes, seenBy(m, have))
	}
	return resp, nil
}

// seenBy is a mailbox as somebody sees it who has rights in it: counters where he may read, and no subscription, which is
// the owner's.
func seenBy(m *index.Mailbox, have acl.Rights) *storev1.Mailbox {
	out := fromMailbox(m)
	if !have.Has(acl.Read) {
		out = &storev1.Mailbox{Id: out.Id, Name: out.Name, Exists: true, SpecialUse: out.SpecialUse}
	}
	out.Subscribed, out.Rights = false, have.String()
	return out
}
