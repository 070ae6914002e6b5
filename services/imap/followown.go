package imap

import (
	"strings"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// What the session does itself it is not told of (RFC 5465 §5): the following notes it as known, exactly that and no more, so that
// what others do meanwhile is told. Counters of mailboxes that it files into are told all the same, as others may have a share
// in them.

// made notes mailboxes that the session made: one of a name, and those above it that were not there.
func (s *session) made(name string, at place) {
	f := s.following
	if f == nil {
		return
	}
	names := []string{at.name}
	for i, c := range at.name {
		if c == '/' {
			names = append(names, at.name[:i])
		}
	}
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Mailboxes.Find(ctx, &storev1.FindRequest{Account: uint64(at.owner), Actor: uint64(s.account), Names: names})
	if err != nil {
		return // it is told then
	}
	prefix := strings.TrimSuffix(name, at.name)
	for _, found := range resp.GetFound() {
		m := found.GetMailbox()
		if m == nil {
			continue
		}
		if _, knew := f.known[m.GetId()]; !knew {
			m.Name = prefix + m.GetName()
			f.known[m.GetId()] = toldOf(&node{Mailbox: m, owner: at.owner})
		}
	}
}

// removed notes a mailbox that the session deleted.
func (f *following) removed(name string) {
	for id, known := range f.known {
		if known.name == name {
			delete(f.known, id)
			delete(f.notes, id)
		}
	}
}

// renamed notes that the session renamed a mailbox and those below it. Subscriptions are of names, and stay behind.
func (f *following) renamed(from, to string) {
	for id, known := range f.known {
		if known.name == from || strings.HasPrefix(known.name, from+separator) {
			known.name, known.subscribed = to+known.name[len(from):], false
			f.known[id] = known
		}
	}
}

// subscribed notes that the session subscribed to a mailbox, or ended that.
func (f *following) subscribed(name string, on bool) {
	for id, known := range f.known {
		if known.name == name {
			known.subscribed = on
			f.known[id] = known
		}
	}
}

// filed notes messages that the session itself filed in the selected mailbox: they are new to others (RFC 5465 §5.2).
func (s *session) filed(uids wire.Set) {
	if s.following != nil || len(s.sel.contexts) > 0 {
		s.sel.filed = append(s.sel.filed, uids...).Join()
	}
}
