package imap

import (
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// place is where a client's name leads: a name within the account that owns the mailbox.
type place struct {
	owner mailbox.AccountID
	// address is the owner's.
	address string
	name    string
}

// locate tells where a name leads: into the namespace of other users, of shared accounts, or to the session's own mailboxes.
// It does not tell whether a mailbox is there. A name of an account that does not exist is told like one of a mailbox that
// the session may not know of (RFC 4314 §6).
func (s *session) locate(name string) (place, error) {
	own := place{owner: s.account, address: s.user, name: s.svc.storedName(name)}
	if s.svc.deps.Sharing == nil {
		return own, nil
	}
	rest, shared := strings.CutPrefix(name, s.svc.cfg.SharedPrefix+separator)
	if !shared {
		var other bool
		if rest, other = strings.CutPrefix(name, s.svc.cfg.OtherUsersPrefix+separator); !other {
			if name == s.svc.cfg.SharedPrefix || name == s.svc.cfg.OtherUsersPrefix {
				return place{}, errNoMailbox
			}
			return own, nil
		}
	}
	address, box, found := strings.Cut(rest, separator)
	if !found || box == "" {
		return place{}, errNoMailbox
	}
	who, err := s.whose(address)
	if err != nil {
		return place{}, err
	}
	if who.GetAccount() == 0 || who.GetShared() != shared || mailbox.AccountID(who.GetAccount()) == s.account {
		return place{}, errNoMailbox
	}
	return place{owner: mailbox.AccountID(who.GetAccount()), address: who.GetAddress(), name: box}, nil
}

var errNoMailbox = no("NONEXISTENT", "no such mailbox")

// whose asks the directory whose an address is; account 0: nobody's.
func (s *session) whose(address string) (*directoryv1.Identity, error) {
	if who := s.svc.owners.get(address, s.svc.deps.Now()); who != nil {
		return who, nil
	}
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Identities.Identify(ctx, &directoryv1.IdentifyRequest{Addresses: []string{address}})
	if err != nil {
		return nil, err
	}
	who := &directoryv1.Identity{}
	if a := resp.GetByAddress(); len(a) == 1 {
		who = a[0]
	}
	s.svc.owners.put(address, who, s.svc.deps.Now())
	return who, nil
}

// owners remembers whose addresses are, for a short time.
type owners struct {
	mu    sync.Mutex
	known map[string]knownOwner // guarded by mu
}

type knownOwner struct {
	who   *directoryv1.Identity
	until time.Time
}

const (
	ownersMax = 10_000
	ownersFor = 10 * time.Second
)

func (o *owners) get(address string, now time.Time) *directoryv1.Identity {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k, ok := o.known[address]; ok && now.Before(k.until) {
		return k.who
	}
	return nil
}

func (o *owners) put(address string, who *directoryv1.Identity, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil || len(o.known) >= ownersMax {
		o.known = map[string]knownOwner{}
	}
	o.known[address] = knownOwner{who, now.Add(ownersFor)}
}

// reaches tells whether a pattern may name something in a namespace with this prefix.
func reaches(pattern, prefix string) bool {
	head := pattern
	if i := strings.IndexAny(pattern, "*%"); i >= 0 {
		head = pattern[:i]
	}
	prefix += separator
	return strings.HasPrefix(head, prefix) || strings.HasPrefix(prefix, head)
}

// everywhere is mailboxes with those of others that are shared with the session, where patterns reach them. It costs one
// call, which looks at what was given to this account and at nothing else.
func (s *session) everywhere(patterns []string) ([]node, error) {
	cfg := &s.svc.cfg
	wanted := false
	for _, p := range patterns {
		wanted = wanted || reaches(p, cfg.OtherUsersPrefix) || reaches(p, cfg.SharedPrefix)
	}
	if !wanted || s.svc.deps.Sharing == nil {
		return s.mailboxes()
	}
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Mailboxes.List(ctx, &storev1.ListRequest{Account: uint64(s.account), Actor: uint64(s.account)})
	if err != nil {
		return nil, err
	}
	boxes := s.svc.show(resp.GetMailboxes())
	own := make(map[string]*storev1.Mailbox, len(boxes))
	for _, m := range boxes {
		own[m.GetName()] = m
	}
	stream, err := s.svc.deps.Sharing.Shared(ctx, &storev1.SharedRequest{Actor: uint64(s.account)})
	if err != nil {
		return nil, err
	}
	whose := map[string]mailbox.AccountID{}
	for {
		page, err := stream.Recv()
		if err == io.EOF || status.Code(err) == codes.Unimplemented {
			break // the latter is a store of before there was sharing
		}
		if err != nil {
			return nil, err
		}
		if strings.Contains(page.GetAddress(), separator) {
			continue // it would be two levels
		}
		prefix := cfg.OtherUsersPrefix
		if page.GetShared() {
			prefix = cfg.SharedPrefix
		}
		for _, m := range page.GetMailboxes() {
			m.Name = prefix + separator + page.GetAddress() + separator + m.GetName()
			whose[m.GetName()] = mailbox.AccountID(page.GetAccount())
			if sub := own[m.GetName()]; sub != nil {
				// The session's subscription to it.
				m.Subscribed = sub.GetSubscribed()
				proto.Reset(sub)
				proto.Merge(sub, m)
				continue
			}
			boxes = append(boxes, m)
		}
	}
	nodes := tree(s.account, boxes)
	for i := range nodes {
		if id, ok := whose[nodes[i].GetName()]; ok {
			nodes[i].owner = id
		}
	}
	return nodes, nil
}
