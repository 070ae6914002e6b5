package store

import (
	"context"
	"errors"
	"sync"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// reader is who asks, where flags may be his own: nobody special for the owner.
func (s *Service) reader(req asked) index.Reader {
	if !foreign(req) {
		return index.Reader{}
	}
	return index.Reader{Account: mailbox.AccountID(req.GetActor()), Own: s.cfg.PerUserFlags}
}

// copying copies or moves messages for whoever asks: somebody who is not the owner has his own flags on the copies, and
// sets none there that he may not (RFC 4314 §4).
func (s *Service) copying(ctx context.Context, req asked, c index.Copying) (index.CopyResult, error) {
	if c.Reader = s.reader(req); foreign(req) {
		have, _, err := s.rightsNamed(ctx, req, c.Target)
		if err != nil {
			return index.CopyResult{}, err
		}
		c.Deny = kept(have)
	}
	return s.deps.Mailboxes.CopyBy(ctx, c)
}

// unseenMax bounds how many counts are remembered.
const unseenMax = 10_000

// unseenCounts remembers what readers have not seen, as of a MODSEQ of the mailbox: it is counted again after each change.
type unseenCounts struct {
	mu    sync.Mutex
	known map[unseenKey]unseenCount // guarded by mu
}

type unseenKey struct {
	account, reader mailbox.AccountID
	box             mailbox.ID
}

type unseenCount struct {
	seq mailbox.ModSeq
	n   uint32
}

// Unseen counts for a reader.
func (s *sharing) Unseen(ctx context.Context, req *storev1.UnseenRequest) (*storev1.UnseenResponse, error) {
	a, box, err := accountAndBox(req.GetAccount(), req.GetMailbox())
	if err != nil {
		return nil, err
	}
	if err := s.may(ctx, req, box, acl.Read); err != nil {
		return nil, err
	}
	q := index.SnapshotQuery{Account: a, Mailbox: box, Reader: s.reader(req)}
	found, err := s.deps.Mailboxes.Find(ctx, a, nil, []mailbox.ID{box})
	switch {
	case err != nil:
		return nil, toStatus(err)
	case len(found) != 1 || found[0].ID == 0:
		return nil, hidden()
	case !q.Reader.Has(`\Seen`):
		return &storev1.UnseenResponse{Unseen: found[0].Unseen}, nil
	}
	n, err := s.countUnseen(ctx, q, found[0].HighestModSeq)
	if err != nil {
		return nil, toStatus(err)
	}
	return &storev1.UnseenResponse{Unseen: n}, nil
}

// maxUnseen is how many mailboxes one CountUnseen asks for.
const maxUnseen = 10_000

// CountUnseen counts for a reader in many mailboxes: two questions for each account, and one for each mailbox that changed since
// it was counted last.
func (s *sharing) CountUnseen(ctx context.Context, req *storev1.CountUnseenRequest) (*storev1.CountUnseenResponse, error) {
	if n := len(req.GetMailboxes()); n > maxUnseen {
		return nil, invalid("%d mailboxes, more than %d", n, maxUnseen)
	}
	resp := &storev1.CountUnseenResponse{}
	places := map[uint64][]int{}
	for i, m := range req.GetMailboxes() {
		if _, _, err := accountAndBox(m.GetAccount(), m.GetMailbox()); err != nil {
			return nil, err
		}
		resp.Counts = append(resp.Counts, &storev1.UnseenCount{})
		places[m.GetAccount()] = append(places[m.GetAccount()], i)
	}
	for owner, at := range places {
		if err := s.countIn(ctx, ask{owner, req.GetActor()}, at, req, resp); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// countIn counts in the mailboxes of one account.
func (s *sharing) countIn(ctx context.Context, of ask, at []int, req *storev1.CountUnseenRequest, resp *storev1.CountUnseenResponse) error {
	rights := func(mailbox.ID) acl.Rights { return acl.All }
	if foreign(of) {
		a, err := s.access(ctx, of, index.AccessQuery{})
		if err != nil {
			return err
		}
		rights = a.Rights
	}
	ids := make([]mailbox.ID, len(at))
	for k, i := range at {
		ids[k] = mailbox.ID(req.GetMailboxes()[i].GetMailbox())
	}
	found, err := s.deps.Mailboxes.Find(ctx, mailbox.AccountID(of.account), nil, ids)
	if err != nil {
		return toStatus(err)
	}
	reader := s.reader(of)
	for k, i := range at {
		m := &found[k]
		if m.ID == 0 || !rights(m.ID).Has(acl.Read) {
			continue
		}
		n := m.Unseen
		if reader.Has(`\Seen`) {
			q := index.SnapshotQuery{Account: mailbox.AccountID(of.account), Mailbox: m.ID, Reader: reader}
			if n, err = s.countUnseen(ctx, q, m.HighestModSeq); errors.Is(err, index.ErrNoMailbox) {
				continue // it has gone meanwhile
			} else if err != nil {
				return toStatus(err)
			}
		}
		resp.Counts[i] = &storev1.UnseenCount{Unseen: n, Readable: true}
	}
	return nil
}

func (s *Service) countUnseen(ctx context.Context, q index.SnapshotQuery, seq mailbox.ModSeq) (uint32, error) {
	c, key := &s.unseen, unseenKey{q.Account, q.Reader.Account, q.Mailbox}
	c.mu.Lock()
	had := c.known[key]
	c.mu.Unlock()
	if had.seq == seq && seq != 0 {
		return had.n, nil
	}
	var n uint32
	err := s.deps.Mailboxes.Snapshot(ctx, q, func(p *index.Page) error {
		if p.Mailbox != nil {
			seq = p.Mailbox.HighestModSeq
		}
		var chunk mailbox.Chunk
		for i := range p.Chunks {
			if err := chunk.UnpackFlags(&p.Chunks[i]); err != nil {
				return err
			}
			for _, f := range chunk.Flags {
				if f&mailbox.Seen == 0 {
					n++
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	if c.known == nil || len(c.known) >= unseenMax {
		c.known = map[unseenKey]unseenCount{}
	}
	c.known[key] = unseenCount{seq, n}
	c.mu.Unlock()
	return n, nil
}
