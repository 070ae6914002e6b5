package imap

import (
	"slices"
	"strings"
	"sync"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// findAtMost is up to how many changed mailboxes are asked for one by one; beyond it, and where the list itself changed, all
// are listed.
const findAtMost = 64

// following is what a session has asked NOTIFY for. It keeps some 100 octets for each mailbox that it watches: what the client
// was told last.
type following struct {
	s      *session
	groups []eventGroup
	// selected is the group of the selected mailbox, nil where nothing of it is wanted.
	selected *eventGroup
	// abroad tells that groups may be about mailboxes of others. One that is shared with the session by somebody of whom it
	// had none is seen once something else makes it look.
	abroad bool
	known  map[uint64]lastTold
	// notes are the entries of mailboxes, of which changes are wanted; see compareNotes.
	notes map[uint64]notes
	// accounts are those whose notices are heard, and prefixes what names of others' mailboxes begin with.
	accounts []mailbox.AccountID
	prefixes map[mailbox.AccountID]string

	mu sync.Mutex
	// changed are mailboxes of which a notice came, and whose they are, and listed tells that one came of a list; guarded by mu.
	changed map[uint64]mailbox.AccountID
	listed  bool
}

// lastTold is a mailbox as the client knows it.
type lastTold struct {
	owner      mailbox.AccountID
	name       string
	subscribed bool
	messages   uint32
	uidNext    uint32
	modSeq     uint64
}

func toldOf(n *node) lastTold {
	return lastTold{n.owner, n.GetName(), n.GetSubscribed(), n.GetMessages(), n.GetUidNext(), n.GetHighestModSeq()}
}

// follow begins to watch, in the place of what was watched before.
func (s *session) follow(groups []eventGroup, status bool) error {
	s.unfollow()
	f := &following{s: s, groups: groups, known: map[uint64]lastTold{}, notes: map[uint64]notes{}, prefixes: map[mailbox.AccountID]string{}, changed: map[uint64]mailbox.AccountID{}}
	var others events
	for i := range groups {
		g := &groups[i]
		if g.filter > filterSelectedDelayed {
			others |= g.events
			f.abroad = f.abroad || s.leadsAbroad(g)
		} else if g.events&messageNew != 0 {
			f.selected = g
			if len(g.items) > 0 {
				g.items = withFirst(g.items, "UID")
			}
		}
	}
	s.following = f
	if others == 0 {
		return nil
	}
	// Heard first: what changes while we look comes as a notice.
	f.hear(s.account)
	boxes, err := f.mailboxes()
	if err != nil {
		s.unfollow()
		return err
	}
	for i := range boxes {
		n := &boxes[i]
		f.known[n.GetId()] = toldOf(n)
		wanted := f.wanted(n)
		switch {
		case wanted != 0 && !s.rights(n).Has(acl.Read):
			f.tellList(`\NoAccess`, n.GetName(), "") // RFC 5465 §3.1
		case status && wanted&messageNew != 0 && !f.isSelected(n.GetId()):
			if err := f.tellStatus(n, wanted); err != nil {
				s.unfollow()
				return err
			}
		}
	}
	err = f.compareServerNotes(true)
	if err == nil {
		err = f.compareNotes(boxes, true)
	}
	if err != nil {
		s.unfollow()
	}
	return err
}

// leadsAbroad tells whether a group may be about mailboxes of others.
func (s *session) leadsAbroad(g *eventGroup) bool {
	if s.svc.deps.Sharing == nil {
		return false
	}
	return g.filter == filterSubscribed || slices.ContainsFunc(g.names, func(name string) bool {
		for _, prefix := range []string{s.svc.cfg.OtherUsersPrefix, s.svc.cfg.SharedPrefix} {
			if name == prefix || strings.HasPrefix(name, prefix+separator) {
				return true
			}
		}
		return false
	})
}

// hear begins to take notices of an account.
func (f *following) hear(account mailbox.AccountID) {
	if !slices.Contains(f.accounts, account) {
		f.accounts = append(f.accounts, account)
		f.s.svc.hub.follow(f, account)
	}
}

// mailboxes lists those that exist, and hears of those of others that groups are about.
func (f *following) mailboxes() ([]node, error) {
	list := f.s.mailboxes
	if f.abroad {
		list = func() ([]node, error) { return f.s.everywhere([]string{"*"}) }
	}
	for {
		nodes, err := list()
		if err != nil {
			return nil, err
		}
		heard := len(f.accounts)
		for i := range nodes {
			if n := &nodes[i]; n.GetExists() && n.owner != f.s.account && f.wanted(n) != 0 {
				f.prefixes[n.owner] = abroadPrefix(n.GetName())
				f.hear(n.owner)
			}
		}
		if len(f.accounts) == heard {
			return slices.DeleteFunc(nodes, func(n node) bool {
				return !n.GetExists() || n.owner != f.s.account && f.prefixes[n.owner] == ""
			}), nil
		}
		// What changed before their notices were heard is looked at again.
	}
}

// abroadPrefix is what the names of all mailboxes of another account begin with: the namespace and the address.
func abroadPrefix(name string) string {
	i := strings.Index(name, separator) + 1
	j := strings.Index(name[i:], separator) + 1
	return name[:i+j]
}

// unfollow ends that: the client is told what a client is told that has never asked.
func (s *session) unfollow() {
	if s.following != nil {
		for _, account := range s.following.accounts {
			s.svc.hub.unfollow(s.following, account)
		}
		s.following = nil
	}
}

// wantsSelected tells whether changes of the selected mailbox are told unasked.
func (s *session) wantsSelected() bool { return s.following == nil || s.following.selected != nil }

// announced is which changed flags are told unasked; nil is all.
func (s *session) announced() func(view.Change) bool {
	if f := s.following; f != nil && f.selected != nil && f.selected.events&flagChange == 0 {
		return func(view.Change) bool { return false }
	}
	return nil
}

// note takes a notice of the hub.
func (f *following) note(account mailbox.AccountID, boxes []uint64) {
	f.mu.Lock()
	if len(boxes) == 0 {
		f.listed = true
	}
	for _, id := range boxes {
		f.changed[id] = account
	}
	f.mu.Unlock()
	f.s.wake()
}

// due tells whether there is something to look at.
func (f *following) due() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.listed || len(f.changed) > 0
}

// tell looks at what changed and tells what is wanted of it. What cannot be looked at ends the watch (RFC 5465 §5.8).
func (f *following) tell() {
	f.mu.Lock()
	all, changed := f.listed, f.changed
	f.listed, f.changed = false, map[uint64]mailbox.AccountID{}
	f.mu.Unlock()
	var err error
	if all || len(changed) > findAtMost {
		err = f.list()
	} else if len(changed) > 0 {
		err = f.find(changed)
	}
	if err != nil {
		f.s.log.Warn("mailboxes not watched any more", obs.Error(err))
		f.s.unfollow()
		f.s.following = &following{s: f.s}
		f.s.untagged("OK [" + errOverflowCode + "] mailboxes are not watched any more")
	}
}

// find looks at some mailboxes.
func (f *following) find(changed map[uint64]mailbox.AccountID) error {
	ids := map[mailbox.AccountID][]uint64{}
	for id, account := range changed {
		if id != serverNotes {
			ids[account] = append(ids[account], id)
		} else if err := f.compareServerNotes(false); err != nil {
			return err
		}
	}
	for account, some := range ids {
		if err := f.findOf(account, some); err != nil {
			return err
		}
	}
	return nil
}

func (f *following) findOf(account mailbox.AccountID, ids []uint64) error {
	ctx, cancel := f.s.call()
	defer cancel()
	resp, err := f.s.svc.deps.Mailboxes.Find(ctx, &storev1.FindRequest{Account: uint64(account), Actor: uint64(f.s.account), Ids: ids})
	if err != nil {
		return err
	}
	var boxes []node
	for i, found := range resp.GetFound() {
		m := found.GetMailbox()
		switch {
		case m != nil && (account == f.s.account || f.s.rights(&node{Mailbox: m, owner: account}).Has(acl.Lookup)):
			n := &node{Mailbox: m, owner: account}
			if account != f.s.account {
				m.Name = f.prefixes[account] + m.GetName()
				m.Subscribed = f.known[m.GetId()].subscribed // that it changed is a notice of the session's own account
			}
			boxes = append(boxes, *n)
		case i < len(ids):
			f.gone(ids[i])
		}
	}
	if err := f.compareAll(boxes); err != nil {
		return err
	}
	return f.compareNotes(boxes, false)
}

// list looks at all.
func (f *following) list() error {
	boxes, err := f.mailboxes()
	if err != nil {
		return err
	}
	there := make(map[uint64]bool, len(boxes))
	for i := range boxes {
		there[boxes[i].GetId()] = true
	}
	if err := f.compareAll(boxes); err != nil {
		return err
	}
	for id := range f.known {
		if !there[id] {
			f.gone(id)
		}
	}
	if err := f.compareServerNotes(false); err != nil {
		return err
	}
	return f.compareNotes(boxes, false)
}

// wanted is what is wanted of a mailbox, by all groups that are about it (RFC 5465 §6).
func (f *following) wanted(n *node) events {
	return f.wantedOf(n.GetName(), n.GetSubscribed(), n.owner == f.s.account)
}

func (f *following) wantedOf(name string, subscribed, own bool) (all events) {
	for i := range f.groups {
		if f.groups[i].matches(name, subscribed, own) {
			all |= f.groups[i].events
		}
	}
	return all
}

// isSelected tells of the mailbox that has groups of its own.
func (f *following) isSelected(id uint64) bool {
	sel := f.s.sel
	return sel != nil && sel.snap.ID == mailbox.ID(id)
}

// compareAll tells how mailboxes differ from what the client knows.
func (f *following) compareAll(boxes []node) error {
	renamed := map[string]string{}
	for i := range boxes {
		n := &boxes[i]
		if was, knew := f.known[n.GetId()]; knew && was.name != n.GetName() {
			renamed[was.name] = n.GetName()
		}
	}
	for i := range boxes {
		if err := f.compare(&boxes[i], renamed); err != nil {
			return err
		}
	}
	return nil
}

// goesAlong tells of a mailbox whose name changed with that of one above it, of which alone is told (RFC 5465 §5.4).
func goesAlong(from, to string, renamed map[string]string) bool {
	for i := strings.LastIndex(from, separator); i > 0; i = strings.LastIndex(from[:i], separator) {
		if above, ok := renamed[from[:i]]; ok && to == above+from[i:] {
			return true
		}
	}
	return false
}

// compare tells how a mailbox differs from what the client knows. renamed are all that are looked at whose names changed.
func (f *following) compare(m *node, renamed map[string]string) error {
	was, knew := f.known[m.GetId()]
	now := toldOf(m)
	if knew && was == now {
		return nil
	}
	f.known[m.GetId()] = now
	wanted := f.wanted(m)
	if wanted == 0 && knew {
		// It may have been renamed out of sight.
		wanted = f.wantedOf(was.name, was.subscribed, was.owner == f.s.account)
	}
	switch {
	case wanted&mailboxName != 0 && !knew:
		f.tellList(now.subscribedAttribute(), now.name, "")
	case wanted&mailboxName != 0 && was.name != now.name && !goesAlong(was.name, now.name, renamed):
		f.tellList(now.subscribedAttribute(), now.name, was.name)
	case wanted&subscriptionChange != 0 && was.subscribed != now.subscribed:
		f.tellList(now.subscribedAttribute(), now.name, "")
	}
	arrived := was.messages != now.messages || was.uidNext != now.uidNext && knew
	flagged := knew && was.modSeq != now.modSeq
	if !f.isSelected(m.GetId()) && (wanted&messageNew != 0 && arrived || wanted&flagChange != 0 && flagged) {
		return f.tellStatus(m, wanted)
	}
	return nil
}

// gone is a mailbox that is not there any more.
func (f *following) gone(id uint64) {
	was, knew := f.known[id]
	delete(f.known, id)
	delete(f.notes, id)
	if !knew {
		return
	}
	if f.wantedOf(was.name, was.subscribed, was.owner == f.s.account)&mailboxName != 0 {
		f.tellList(`\NonExistent`, was.name, "")
	}
}

func (t lastTold) subscribedAttribute() string {
	if t.subscribed {
		return `\Subscribed`
	}
	return ""
}

// tellList writes a LIST response; oldName is empty but for a mailbox that was renamed (RFC 5465 §5.4).
func (f *following) tellList(attributes, name, oldName string) {
	s := f.s
	b := append(append(append(s.out.Take(), "* LIST ("...), attributes...), `) "/" `...)
	b = wire.AppendMailbox(b, name, s.utf8OK())
	if oldName != "" {
		b = append(wire.AppendMailbox(append(b, ` ("OLDNAME" (`...), oldName, s.utf8OK()), "))"...)
	}
	s.out.Give(append(b, "\r\n"...))
}

// tellStatus writes the counters of a mailbox that is not selected (RFC 5465 §5.1 to §5.3), where the session may read it.
func (f *following) tellStatus(n *node, wanted events) error {
	if !f.s.rights(n).Has(acl.Read) {
		return nil
	}
	items := &statusItems{names: []string{"MESSAGES", "UIDNEXT", "UIDVALIDITY"}}
	if wanted&flagChange != 0 {
		items.names = append(items.names, "UNSEEN")
	}
	if f.s.enabled.condstore {
		items.names = append(items.names, "HIGHESTMODSEQ")
	}
	if err := f.s.countUnseen(n, items); err != nil {
		return err
	}
	return f.s.writeStatus(n, items)
}

// fetchNew tells what is wanted of messages that are new in the selected mailbox, but for those that the session filed itself.
func (s *session) fetchNew(known mailbox.UID) error {
	if s.following == nil || s.following.selected == nil || len(s.following.selected.items) == 0 {
		return nil
	}
	f := &fetcher{s: s, items: s.following.selected.items}
	f.needs = needsOf(f.items)
	first := s.sel.snap.Rank(known+1) + 1
	if first > s.sel.snap.Len() {
		return nil
	}
	// Reading unasked sets no \Seen.
	return f.run(wire.Set{{First: first, Last: s.sel.snap.Len()}}.Less(s.sel.snap.Seqs(s.sel.filed)))
}
