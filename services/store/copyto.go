package store

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Bounds of one copy from account to account, which is all or nothing.
const (
	// MaxCopyTo is how many messages it has.
	MaxCopyTo = 10_000
	// maxCopyIndexes is how much their part indexes have together, octets.
	maxCopyIndexes = 64 << 20
)

// CopyTo copies messages to another account (RFC 9051 §6.4.7): emails that refer to the same bodies, made once per
// operation. A move expunges the source after the copies are durable, so that whatever dies between, nothing is lost; a
// repeat finds the copies made, and expunges then.
func (s *sharing) CopyTo(ctx context.Context, req *storev1.CopyToRequest) (*storev1.CopyToResponse, error) {
	a, box, uids, err := messages(req)
	if err != nil {
		return nil, err
	}
	target, err := account(req.GetTargetAccount())
	if err != nil {
		return nil, err
	}
	name, err := boxName(req.GetTarget())
	if err != nil {
		return nil, err
	}
	if s.deps.Sharing == nil || a == target {
		return nil, invalid("a copy to another account needs one")
	}
	op, err := operation(req.GetOperation())
	if err != nil {
		return nil, err
	}
	need := acl.Read
	if req.GetMove() {
		need |= acl.Deleted | acl.Expunge
	}
	if err := s.may(ctx, req, box, need); err != nil {
		return nil, err
	}
	to := ask{uint64(target), req.GetActor()}
	if to.actor == 0 {
		to.actor = req.GetAccount()
	}
	have := acl.All
	if foreign(to) {
		if have, _, err = s.rightsNamed(ctx, to, name); err != nil {
			return nil, err
		}
	}
	if err := check(have, acl.Insert); err != nil {
		return nil, err
	}
	r, done, err := s.deps.Mailboxes.Done(ctx, target, op)
	if err != nil {
		return nil, toStatus(err)
	}
	if !done {
		q := index.SnapshotQuery{Account: a, Mailbox: box, Reader: s.reader(req)}
		if r, err = s.copyOnce(ctx, q, uids, to, name, have, op); err != nil {
			return nil, toStatus(err)
		}
	}
	// The copies are durable: whoever dies here leaves both, and a repeat goes on from here.
	if req.GetMove() && len(r.Source) > 0 {
		e, err := s.deps.Mailboxes.Expunge(ctx, a, box, r.Source, true)
		if err != nil {
			return nil, toStatus(err)
		}
		if len(e.Expunged) > 0 {
			s.changed(a, e.ModSeq, box)
		}
	}
	var copies mailbox.UIDSet
	for _, uid := range r.UIDs {
		copies = copies.Add(uid)
	}
	return &storev1.CopyToResponse{UidValidity: uint32(r.UIDValidity),
		SourceUids: mailbox.AppendUIDSet(nil, r.Source), TargetUids: mailbox.AppendUIDSet(nil, copies)}, nil
}

// copyOnce makes the copies.
func (s *sharing) copyOnce(ctx context.Context, q index.SnapshotQuery, uids mailbox.UIDSet, to ask, name string, have acl.Rights, op index.Operation) (r index.OnceResult, err error) {
	source, list, err := s.gather(ctx, q, uids)
	if err != nil || len(list) == 0 {
		return r, err
	}
	for i := range list {
		list[i].Flags = permitted(list[i].Flags, have)
	}
	target := mailbox.AccountID(to.account)
	s.domains.place(ctx, target)
	r, err = s.deps.Mailboxes.AppendOnce(ctx, target, name, list, index.Once{Operation: op, Source: source, Reader: s.reader(to)})
	if err != nil || r.Mailbox == 0 {
		return r, err
	}
	s.changed(target, r.ModSeq, r.Mailbox)
	return r, nil
}

// gather reads messages as they are to be filed elsewhere: with the flags that their reader sees.
func (s *sharing) gather(ctx context.Context, q index.SnapshotQuery, uids mailbox.UIDSet) (source mailbox.UIDSet, list []index.Message, err error) {
	var keywords []string
	var entries []mailbox.Entry
	err = s.deps.Mailboxes.Snapshot(ctx, q, func(p *index.Page) error {
		if p.Mailbox != nil {
			keywords = p.Mailbox.Keywords
		}
		var chunk mailbox.Chunk
		for i := range p.Chunks {
			c := &p.Chunks[i]
			if len(uids.Overlapping(c.FirstUID, mailbox.MaxUID)) == 0 {
				continue
			}
			if err := chunk.Unpack(c); err != nil {
				return err
			}
			for k, uid := range chunk.UIDs {
				if uids.Contains(uid) {
					entries = append(entries, chunk.At(k))
				}
			}
		}
		if len(entries) > MaxCopyTo {
			return status.Errorf(codes.OutOfRange, "more than %d messages at once to another account", MaxCopyTo)
		}
		return nil
	})
	if err != nil || len(entries) == 0 {
		return nil, nil, err
	}
	octets := 0
	for len(entries) > 0 {
		part := entries[:min(len(entries), emailsRead)]
		entries = entries[len(part):]
		ids := make([]mailbox.EmailID, len(part))
		for i, e := range part {
			ids[i] = e.Email
		}
		emails, err := s.deps.Mailboxes.Emails(ctx, q.Account, ids, true)
		if err != nil {
			return nil, nil, err
		}
		byID := make(map[mailbox.EmailID]*index.Email, len(emails))
		for i := range emails {
			byID[emails[i].ID] = &emails[i]
		}
		for _, e := range part {
			email := byID[e.Email]
			if email == nil {
				return nil, nil, status.Errorf(codes.DataLoss, "email %d is not there", e.Email)
			}
			if octets += len(email.PartIndex); octets > maxCopyIndexes {
				return nil, nil, status.Error(codes.OutOfRange, "too much at once to another account")
			}
			source = source.Add(e.UID)
			list = append(list, index.Message{Blob: email.Blob, Overlay: email.Overlay, PartIndex: email.PartIndex, Size: email.Size,
				Received: time.Unix(e.Received, 0), Flags: flagTexts(e.Flags, keywords)})
		}
	}
	return source, list, nil
}

// flagTexts are the names of flags.
func flagTexts(f mailbox.Flags, keywords []string) []string {
	var out []string
	for _, name := range []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`} {
		if bit, _ := mailbox.SystemFlag(name); f&bit != 0 {
			out = append(out, name)
		}
	}
	for i, name := range keywords {
		if f&mailbox.KeywordFlag(i) != 0 {
			out = append(out, name)
		}
	}
	return out
}
