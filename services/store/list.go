package store

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// List tells the mailboxes of an account.
func (s *mailboxes) List(ctx context.Context, req *storev1.ListRequest) (*storev1.ListResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	if foreign(req) {
		return s.listFor(ctx, req)
	}
	list, seq, err := s.deps.Mailboxes.List(ctx, a)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.ListResponse{Mailboxes: make([]*storev1.Mailbox, len(list)), ModSeq: uint64(seq)}
	for i := range list {
		resp.Mailboxes[i] = fromMailbox(&list[i])
	}
	return resp, nil
}

// Counters tells the MODSEQs of accounts; 0 for what no account can be.
func (s *mailboxes) Counters(ctx context.Context, req *storev1.CountersRequest) (*storev1.CountersResponse, error) {
	if len(req.GetAccounts()) > MaxCounters {
		return nil, invalid("%d accounts, more than %d", len(req.GetAccounts()), MaxCounters)
	}
	ids := make([]mailbox.AccountID, len(req.GetAccounts()))
	for i, a := range req.GetAccounts() {
		ids[i] = mailbox.AccountID(a)
	}
	seqs, err := s.deps.Mailboxes.Counters(ctx, ids)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &storev1.CountersResponse{ModSeqs: make([]uint64, len(seqs))}
	for i, seq := range seqs {
		resp.ModSeqs[i] = uint64(seq)
	}
	return resp, nil
}
