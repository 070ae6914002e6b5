package store

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Flag changes flags (RFC 9051 §6.4.6).
func (s *mailboxes) Flag(ctx context.Context, req *storev1.FlagRequest) (*storev1.FlagResponse, error) {
	a, box, uids, err := messages(req)
	if err != nil {
		return nil, err
	}
	flags, err := flagNames(req.GetFlags())
	if err != nil {
		return nil, err
	}
	flags, keep, err := s.mayFlag(ctx, req, box, flags)
	if err != nil {
		return nil, err
	}
	if m := req.GetMode(); m < storev1.FlagMode_FLAG_MODE_ADD || m > storev1.FlagMode_FLAG_MODE_REPLACE {
		return nil, invalid("mode %d", m)
	}
	r, err := s.deps.Mailboxes.Flag(ctx, index.FlagChange{
		Account: a, Mailbox: box, UIDs: uids, Mode: index.FlagMode(req.GetMode()), Flags: flags,
		UnchangedSince: mailbox.ModSeq(req.GetUnchangedSince()), Conditional: req.GetHasUnchangedSince(), Keep: keep, Reader: s.reader(req),
	})
	if err != nil {
		return nil, toStatus(err)
	}
	if r.Changed {
		s.changed(a, r.ModSeq, box)
	}
	s.flagged.add(boxID{a, box}, r.Told)
	resp := &storev1.FlagResponse{ModSeq: uint64(r.ModSeq), Modified: mailbox.AppendUIDSet(nil, r.Modified)}
	if since := req.GetSinceModSeq(); r.Told != nil && since != 0 && since == uint64(r.Told.Before) {
		resp.Told = fromTold(r.Told)
	}
	return resp, nil
}

// fromTold gives the contract's form.
func fromTold(t *index.FlagsTold) *storev1.FlagsTold {
	told := &storev1.FlagsTold{HighestModSeq: uint64(t.HighestModSeq), Keywords: t.Keywords, Chunks: make([]*storev1.Chunk, len(t.Chunks))}
	for i := range t.Chunks {
		p := &t.Chunks[i]
		told.Chunks[i] = &storev1.Chunk{FirstUid: uint32(p.FirstUID), MaxModSeq: uint64(p.MaxModSeq), Flags: p.Flags, ModSeqs: p.ModSeqs}
	}
	return told
}
