package imap

import (
	"math"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/view"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// errReadOnly is a change of a mailbox that was opened by EXAMINE.
var errReadOnly = no("READ-ONLY", "mailbox is open read-only")

// expunge removes what carries \Deleted (RFC 9051 §6.4.3).
func (s *session) expunge(l *wire.Lexer) (reply, error) {
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	return s.expungeThese(nil)
}

// uidExpunge removes what of a set carries \Deleted (RFC 9051 §6.4.9).
func (s *session) uidExpunge(l *wire.Lexer) (reply, error) {
	l.Space()
	set, saved := l.Set()
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	seqs, err := s.seqs(set, saved, true)
	if err != nil {
		return reply{}, err
	}
	if len(seqs) == 0 {
		// An empty set would mean all.
		return reply{}, s.tell(false)
	}
	uids := s.sel.snap.UIDs(seqs)
	limit, err := s.expungeLimit(seqs, &uids)
	if err != nil {
		return reply{}, err
	}
	r, err := s.expungeThese(packUIDs(uids))
	if err == nil && r.status != statusNo {
		r = s.limited(r, limit)
	}
	return r, err
}

// expungeLimit cuts a set where more of it carry \Deleted than the limit allows, and gives the code that tells of it.
func (s *session) expungeLimit(seqs wire.Set, uids *wire.Set) (string, error) {
	if limit := s.messageLimit(); limit == 0 || seqs.Count() <= uint64(limit) {
		return "", nil
	}
	var deleted wire.Set
	err := s.sel.snap.Walk(seqs, view.WantFlags, func(seq uint32, cols *view.Columns, lo, hi int) error {
		for i := lo; i < hi; i++ {
			if cols.Flags[i]&mailbox.Deleted != 0 {
				deleted = deleted.Add(seq + uint32(i-lo))
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	deleted, code := s.capped(deleted)
	if code != "" {
		*uids = uids.Intersect(wire.Set{{First: uint32(s.sel.snap.UID(deleted[0].First)), Last: math.MaxUint32}})
	}
	return code, nil
}

func (s *session) expungeThese(uids []byte) (reply, error) {
	if s.sel.readOnly {
		return errReadOnly, nil
	}
	ctx, cancel := s.call()
	defer cancel()
	knew := s.sel.box.Current()
	resp, err := s.svc.deps.Mailboxes.Expunge(ctx, s.expungeRequest(uids, knew))
	if err != nil {
		return reply{}, err
	}
	if !s.sel.box.Removed(ctx, knew.HighestModSeq, resp) {
		s.dirty.Store(true)
	}
	if err := s.tell(false); err != nil {
		return reply{}, err
	}
	if s.enabled.condstore && len(resp.GetExpunged()) > 0 {
		return okCode(highest(s.sel.snap.HighestModSeq), ""), nil
	}
	return reply{}, nil
}

// likelyMax is how many ranges of UIDs an EXPUNGE of all names at most: where they are more, to look through the whole mailbox costs
// little beside.
const likelyMax = 10_000

// expungeRequest asks to remove what of some UIDs carries \Deleted, or of all without any, by one who knew the mailbox.
func (s *session) expungeRequest(uids []byte, knew *view.Snapshot) *storev1.ExpungeRequest {
	req := &storev1.ExpungeRequest{Account: s.sel.owner(), Actor: uint64(s.account), Mailbox: uint64(s.sel.snap.ID), Uids: uids,
		SinceModSeq: uint64(knew.HighestModSeq)}
	if likely := knew.Deleted(); len(uids) == 0 && len(likely) <= likelyMax {
		req.Likely = packUIDs(likely)
	}
	return req
}

// packUIDs packs a set of UIDs for the store.
func packUIDs(uids wire.Set) []byte {
	set := make(mailbox.UIDSet, len(uids))
	for i, r := range uids {
		set[i] = mailbox.UIDRange{First: mailbox.UID(r.First), Last: mailbox.UID(r.Last)}
	}
	return mailbox.AppendUIDSet(nil, set)
}

// unpackUIDs is its reverse.
func unpackUIDs(packed []byte) (wire.Set, error) {
	set, err := mailbox.DecodeUIDSet(packed)
	if err != nil {
		return nil, err
	}
	out := make(wire.Set, len(set))
	for i, r := range set {
		out[i] = wire.Range{First: uint32(r.First), Last: uint32(r.Last)}
	}
	return out, nil
}
