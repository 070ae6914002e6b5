package imap

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/acl"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// identifierMax is the longest identifier, octets.
const identifierMax = 512

// rights are the session's on a mailbox: the owner's are all.
func (s *session) rights(n *node) acl.Rights {
	if n.owner == s.account {
		return acl.All
	}
	r, err := acl.Parse(n.GetRights())
	if err != nil {
		return acl.None
	}
	return r
}

// aclMailbox reads the name that all commands of ACL begin with, and where it leads.
func (s *session) aclMailbox(l *wire.Lexer) string {
	l.Space()
	return s.mailboxName(l)
}

func (s *session) identifier(l *wire.Lexer) string {
	l.Space()
	id := string(l.AString())
	if l.Err() == nil && (id == "" || len(id) > identifierMax || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl)) {
		l.Fail("bad identifier")
	}
	return id
}

// aclPlace is where a name leads, for commands that need the store of access control lists.
func (s *session) aclPlace(name string) (place, error) {
	if s.svc.deps.Sharing == nil {
		return place{}, no("CANNOT", "nothing is shared here")
	}
	return s.locate(name)
}

// getACL tells who has which rights (RFC 4314 §3.3).
func (s *session) getACL(l *wire.Lexer) (reply, error) {
	name := s.aclMailbox(l)
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	at, err := s.aclPlace(name)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Sharing.GetACL(ctx, &storev1.GetACLRequest{Account: uint64(at.owner), Actor: uint64(s.account), Mailbox: at.name})
	if err != nil {
		return reply{}, err
	}
	b := append(s.out.Take(), "* ACL "...)
	b = wire.AppendMailbox(b, name, s.utf8OK())
	// The owner's rights are in no list, and always there.
	b = wire.AppendAString(append(b, ' '), at.address, s.utf8OK())
	b = append(append(b, ' '), acl.All.Shown()...)
	for _, e := range resp.GetEntries() {
		b = wire.AppendAString(append(b, ' '), e.GetIdentifier(), s.utf8OK())
		b = wire.AppendAString(append(b, ' '), shown(e.GetRights()), s.utf8OK())
	}
	s.out.Give(append(b, "\r\n"...))
	return reply{}, nil
}

// shown writes rights with those of RFC 2086.
func shown(letters string) string {
	r, err := acl.Parse(letters)
	if err != nil {
		return letters
	}
	return r.Shown()
}

// setACL gives or takes rights (RFC 4314 §3.1).
func (s *session) setACL(l *wire.Lexer) (reply, error) {
	name := s.aclMailbox(l)
	identifier := s.identifier(l)
	l.Space()
	rights := string(l.AString())
	mode := storev1.ACLMode_ACL_MODE_REPLACE
	switch {
	case strings.HasPrefix(rights, "+"):
		mode, rights = storev1.ACLMode_ACL_MODE_ADD, rights[1:]
	case strings.HasPrefix(rights, "-"):
		mode, rights = storev1.ACLMode_ACL_MODE_REMOVE, rights[1:]
	}
	if _, err := acl.Parse(rights); err != nil && l.Err() == nil {
		l.Fail("unknown right")
	}
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	return s.changeACL(name, identifier, mode, rights)
}

// deleteACL takes an entry out (RFC 4314 §3.2).
func (s *session) deleteACL(l *wire.Lexer) (reply, error) {
	name := s.aclMailbox(l)
	identifier := s.identifier(l)
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	return s.changeACL(name, identifier, storev1.ACLMode_ACL_MODE_REPLACE, "")
}

func (s *session) changeACL(name, identifier string, mode storev1.ACLMode, rights string) (reply, error) {
	at, err := s.aclPlace(name)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := s.call()
	defer cancel()
	_, err = s.svc.deps.Sharing.SetACL(ctx, &storev1.SetACLRequest{
		Account: uint64(at.owner), Actor: uint64(s.account), Mailbox: at.name, Identifier: identifier, Mode: mode, Rights: rights,
	})
	switch status.Code(err) {
	case codes.InvalidArgument:
		return no("CANNOT", "nobody has this identifier"), nil
	case codes.FailedPrecondition:
		return no("CANNOT", "the owner's rights stay"), nil
	case codes.ResourceExhausted:
		return no("LIMIT", "the list is full"), nil
	}
	return reply{}, err
}

// myRights tells what the session may do (RFC 4314 §3.5).
func (s *session) myRights(l *wire.Lexer) (reply, error) {
	name := s.aclMailbox(l)
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	rights, err := s.askRights(name)
	if err != nil {
		return reply{}, err
	}
	s.tellRights(name, rights)
	return reply{}, nil
}

func (s *session) askRights(name string) (acl.Rights, error) {
	at, err := s.aclPlace(name)
	if err != nil {
		return 0, err
	}
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Sharing.MyRights(ctx, &storev1.MyRightsRequest{Account: uint64(at.owner), Actor: uint64(s.account), Mailbox: at.name})
	if err != nil {
		return 0, err
	}
	return acl.Parse(resp.GetRights())
}

// tellRights writes a MYRIGHTS response (RFC 4314 §3.8).
func (s *session) tellRights(name string, rights acl.Rights) {
	b := append(s.out.Take(), "* MYRIGHTS "...)
	b = wire.AppendMailbox(b, name, s.utf8OK())
	b = append(append(b, ' '), rights.Shown()...)
	s.out.Give(append(b, "\r\n"...))
}

// listRights tells which rights can be given to somebody (RFC 4314 §3.4): each by itself; the owner has all of them always.
func (s *session) listRights(l *wire.Lexer) (reply, error) {
	name := s.aclMailbox(l)
	identifier := s.identifier(l)
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	at, err := s.aclPlace(name)
	if err != nil {
		return reply{}, err
	}
	have, err := s.askRights(name)
	switch {
	case err != nil:
		return reply{}, err
	case !have.Has(acl.Lookup):
		return errNoMailbox, nil
	case !have.Has(acl.Admin):
		return no("NOPERM", "not permitted"), nil
	}
	b := append(s.out.Take(), "* LISTRIGHTS "...)
	b = wire.AppendMailbox(b, name, s.utf8OK())
	b = wire.AppendAString(append(b, ' '), identifier, s.utf8OK())
	if strings.EqualFold(identifier, at.address) {
		b = append(append(b, ' '), acl.All.Shown()...)
	} else {
		b = append(b, ` ""`...)
		for _, c := range acl.All.Shown() {
			b = append(b, ' ', byte(c))
		}
	}
	s.out.Give(append(b, "\r\n"...))
	return reply{}, nil
}

// countUnseen asks for the count of what the session has not seen, where the mailbox is another's and STATUS tells it.
func (s *session) countUnseen(n *node, items *statusItems) error {
	if n.owner == s.account || !slices.Contains(items.names, "UNSEEN") {
		return nil
	}
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Sharing.Unseen(ctx, &storev1.UnseenRequest{Account: uint64(n.owner), Actor: uint64(s.account), Mailbox: n.GetId()})
	if err == nil {
		n.Unseen = resp.GetUnseen()
	}
	return err
}

// unseenMax is how many mailboxes are asked for in one call.
const unseenMax = 1000

// countAllUnseen is countUnseen for a LIST, in as few calls as go.
func (s *session) countAllUnseen(nodes []node, req *listRequest) error {
	if req.status == nil || !slices.Contains(req.status.names, "UNSEEN") {
		return nil
	}
	var ask []*node
	for i := range nodes {
		if n := &nodes[i]; n.GetExists() && n.owner != s.account && req.wants(n) && s.rights(n).Has(acl.Read) {
			ask = append(ask, n)
		}
	}
	for some := range slices.Chunk(ask, unseenMax) {
		in := &storev1.CountUnseenRequest{Actor: uint64(s.account)}
		for _, n := range some {
			in.Mailboxes = append(in.Mailboxes, &storev1.SharedMailbox{Account: uint64(n.owner), Mailbox: n.GetId()})
		}
		ctx, cancel := s.call()
		resp, err := s.svc.deps.Sharing.CountUnseen(ctx, in)
		cancel()
		if err != nil {
			return err
		}
		for i, c := range resp.GetCounts() {
			if i < len(some) {
				some[i].Unseen = c.GetUnseen()
			}
		}
	}
	return nil
}
