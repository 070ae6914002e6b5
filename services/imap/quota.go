package imap

import (
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// getQuota tells the use of a quota root (RFC 9208 §4.1.1). Roots are "", the whole account, and folders that have limits of
// their own, by their names.
func (s *session) getQuota(l *wire.Lexer) (reply, error) {
	l.Space()
	name := s.rootName(l)
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	roots, err := s.quotaRoots(place{owner: s.account})
	if err != nil {
		return reply{}, err
	}
	for _, r := range roots {
		if r.GetName() == name {
			s.writeQuota(r)
			return reply{}, nil
		}
	}
	return no("NONEXISTENT", "no such quota root"), nil
}

// rootName reads the name of a quota root.
func (s *session) rootName(l *wire.Lexer) string {
	raw := l.AString()
	if l.Err() != nil || len(raw) == 0 {
		return ""
	}
	name, ok := wire.DecodeMailbox(raw, s.utf8OK())
	if !ok {
		l.Fail("bad quota root")
	}
	return name
}

// getQuotaRoot tells the roots that hold for a mailbox, and their use (RFC 9208 §4.1.2).
func (s *session) getQuotaRoot(l *wire.Lexer) (reply, error) {
	l.Space()
	name := s.mailboxName(l)
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	at, err := s.locate(name)
	if err != nil {
		return reply{}, err
	}
	roots, err := s.rootsFor(at)
	if err != nil {
		return reply{}, err
	}
	b := append(s.out.Take(), "* QUOTAROOT "...)
	b = wire.AppendMailbox(b, name, s.utf8OK())
	if at.owner == s.account { // another's roots are not for GETQUOTA to ask for
		for _, r := range roots {
			b = wire.AppendMailbox(append(b, ' '), r.GetName(), s.utf8OK())
		}
	}
	s.out.Give(append(b, "\r\n"...))
	if at.owner == s.account {
		for _, r := range roots {
			s.writeQuota(r)
		}
	}
	return reply{}, nil
}

// setQuota is the operator's to do, by `mailfarm quota set`: QUOTASET is not announced (RFC 9208 §3.1.1).
func (s *session) setQuota(l *wire.Lexer) (reply, error) {
	l.Space()
	s.rootName(l)
	l.Space()
	n := 0
	l.List(func() {
		l.Atom()
		l.Space()
		l.Number64()
		if n++; n > 16 {
			l.Fail("too many resources")
		}
	})
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	return no("NOPERM", "limits are set by the operator"), nil
}

// rootsFor are the roots of a mailbox; of an own one that is not there, those that it would have (RFC 9208 §4.1.2).
func (s *session) rootsFor(at place) ([]*storev1.QuotaRoot, error) {
	for {
		roots, err := s.quotaRoots(at)
		switch {
		case status.Code(err) == codes.NotFound && at.owner == s.account && at.name != "":
			at.name = at.name[:max(0, strings.LastIndex(at.name, separator))]
		case err == nil && at.name == "":
			return roots[:min(1, len(roots))], nil // all are told; the account's own comes first
		default:
			return roots, err
		}
	}
}

// quotaRoots asks for those of an account, or of a mailbox.
func (s *session) quotaRoots(at place) ([]*storev1.QuotaRoot, error) {
	ctx, cancel := s.call()
	defer cancel()
	resp, err := s.svc.deps.Quotas.GetQuota(ctx, &storev1.GetQuotaRequest{Account: uint64(at.owner), Actor: uint64(s.account), Mailbox: at.name})
	return resp.GetRoots(), err
}

// writeQuota writes a QUOTA response: resources that have a limit (RFC 9208 §4.2.1). STORAGE counts 1024 octets.
func (s *session) writeQuota(r *storev1.QuotaRoot) {
	b := append(s.out.Take(), "* QUOTA "...)
	b = wire.AppendMailbox(b, r.GetName(), s.utf8OK())
	b = append(b, " ("...)
	resource := func(name string, used, limit int64) {
		if limit <= 0 {
			return
		}
		if b[len(b)-1] != '(' {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(append(append(b, name...), ' '), used, 10)
		b = strconv.AppendInt(append(b, ' '), limit, 10)
	}
	resource("STORAGE", kibi(r.GetSize()), kibi(r.GetLimits().GetSize()))
	resource("MESSAGE", r.GetMessages(), r.GetLimits().GetMessages())
	s.out.Give(append(b, ")\r\n"...))
}

// kibi is in units of 1024 octets (RFC 9208 §5.1).
func kibi(octets int64) int64 { return (octets + 1023) / 1024 }

// deletedSize is what EXPUNGE would free, octets (RFC 9208 §4.1.4).
func (s *session) deletedSize(n *node) (size int64, err error) {
	if n.GetDeleted() == 0 {
		return 0, nil
	}
	ctx, cancel := s.call()
	defer cancel()
	box, snap, err := s.svc.cache.Open(ctx, view.Key{Account: n.owner, Actor: s.account, ID: mailbox.ID(n.GetId())}, false)
	if err == view.ErrGone {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer box.Close(false)
	err = snap.Walk(snap.All(), view.WantFlags|view.WantSize, func(_ uint32, cols *view.Columns, lo, hi int) error {
		for i := lo; i < hi; i++ {
			if cols.Flags[i]&mailbox.Deleted != 0 {
				size += cols.Sizes[i]
			}
		}
		return nil
	})
	return size, err
}
