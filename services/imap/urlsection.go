package imap

import (
	"math"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/services/imap/internal/imapurl"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// urlSection is what a URL names, ready to be read.
type urlSection struct {
	m *mails
	d datum
}

// openURL finds what a URL of the session's names: of its own mailboxes, or of those that are shared with it. Close it.
func (s *session) openURL(u *imapurl.URL) (*urlSection, error) {
	n, err := s.urlMailbox(u)
	if err != nil {
		return nil, err
	}
	if !s.rights(n).Has(acl.Read) {
		return nil, no("NOPERM", "not permitted")
	}
	return s.openAs(s.account, n, u)
}

// urlMailbox finds the mailbox of a URL.
func (s *session) urlMailbox(u *imapurl.URL) (*node, error) {
	name := u.Mailbox
	switch {
	case u.Absolute && u.User != "" && u.User != s.user:
		return nil, errNoMailbox // somebody else's name for it is none of this session's
	case name == "" && s.sel == nil:
		return nil, errNoMailbox
	case name == "":
		name = s.sel.name
	}
	if name, ok := wire.DecodeMailbox([]byte(name), true); ok {
		return s.mailbox(name)
	}
	return nil, errNoMailbox
}

// openAs opens what a URL names within a mailbox, for actor: the session's account, or who has authorized the URL.
func (s *session) openAs(actor mailbox.AccountID, n *node, u *imapurl.URL) (*urlSection, error) {
	if u.UIDValidity != 0 && u.UIDValidity != n.GetUidValidity() {
		return nil, no("NONEXISTENT", "no such message")
	}
	it, err := urlItem(u)
	if err != nil {
		return nil, err
	}
	email, err := s.emailAt(actor, n, u.UID)
	if err != nil {
		return nil, err
	}
	x := &urlSection{m: s.newMailsOf(uint64(n.owner), n.GetId())}
	x.m.actor = uint64(actor)
	if err := x.open(email, it); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

// emailAt finds the email of a UID.
func (s *session) emailAt(actor mailbox.AccountID, n *node, uid uint32) (email mailbox.EmailID, err error) {
	ctx, cancel := s.call()
	defer cancel()
	box, snap, err := s.svc.cache.Open(ctx, view.Key{Account: n.owner, Actor: actor, ID: mailbox.ID(n.GetId())}, false)
	if err == view.ErrGone || status.Code(err) == codes.NotFound {
		return 0, errNoMailbox
	}
	if err != nil {
		return 0, err
	}
	defer box.Close(false)
	err = snap.Walk(snap.Seqs(wire.Set{{First: uid, Last: uid}}), view.WantEmail, func(_ uint32, cols *view.Columns, lo, _ int) error {
		email = cols.Emails[lo]
		return nil
	})
	if err == nil && email == 0 {
		err = no("NONEXISTENT", "no such message")
	}
	return email, err
}

// urlItem is the FETCH item that a URL means.
func urlItem(u *imapurl.URL) (*item, error) {
	var l wire.Lexer
	l.Reset([]byte("[" + u.Section + "]"))
	it := parseSection(&l, item{kind: itemSection})
	if l.End(); l.Err() != nil {
		return nil, no("NONEXISTENT", "no such section")
	}
	if u.Partial {
		it.from, it.length = u.Offset, u.Length
		if it.length == 0 {
			it.length = math.MaxInt64
		}
	}
	return &it, nil
}

func (x *urlSection) open(email mailbox.EmailID, it *item) error {
	found, err := x.m.load([]uint64{uint64(email)}, true, 0)
	if err != nil {
		return err
	}
	mail := found[0]
	if mail == nil {
		return no("NONEXISTENT", "no such message")
	}
	if x.d, err = x.m.plan(it, mail); err != nil {
		return err
	}
	if x.d.none {
		return no("NONEXISTENT", "no such section")
	}
	x.m.ranges = x.d.ask(nil)
	return x.m.prepare(&x.d)
}

// size is how many octets there are.
func (x *urlSection) size() int64 { return x.d.size }

// copy gives the octets, in pieces.
func (x *urlSection) copy(to func([]byte)) error {
	if len(x.d.segments) == 0 {
		if len(x.d.whole) > 0 {
			to(x.d.whole)
		}
		return nil
	}
	return x.m.copySegments(&x.d, to)
}

func (x *urlSection) close() {
	x.m.closeStream()
	x.m.close()
}
