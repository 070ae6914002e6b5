package imap

import (
	"context"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/search"
)

// ruledOut are messages that a SEARCH need not look at, because the full-text index knows that they do not match. The index
// is asked once so many messages would have been looked at that it is worth it. It is for one goroutine.
type ruledOut struct {
	ask  func() mailbox.UIDSet // nil: nobody can be asked
	open int                   // messages that were looked at without asking
	uids mailbox.UIDSet
}

// ruleOutAfter is how many messages are looked at before the index is asked.
const ruleOutAfter = 16

// ruleOut prepares a search.
func (s *session) ruleOut(ctx context.Context, key *search.Key, level search.Level) ruledOut {
	if s.svc.deps.FullText == nil || level == search.Columns {
		return ruledOut{}
	}
	q := key.TextQuery()
	if q == nil {
		return ruledOut{}
	}
	req := &storev1.RuleOutRequest{Account: s.sel.owner(), Actor: uint64(s.account), Mailbox: uint64(s.sel.snap.ID), Query: q}
	return ruledOut{ask: func() mailbox.UIDSet { return s.askIndex(ctx, req) }}
}

// out tells whether a message is ruled out.
func (r *ruledOut) out(uid mailbox.UID) bool {
	if r.ask != nil {
		if r.open++; r.open <= ruleOutAfter {
			return false
		}
		r.uids = r.ask()
		r.ask = nil
	}
	return r.uids.Contains(uid)
}

// askIndex asks the full-text index. Without an answer all messages are looked at.
func (s *session) askIndex(ctx context.Context, req *storev1.RuleOutRequest) mailbox.UIDSet {
	ctx, cancel := context.WithTimeout(ctx, s.svc.cfg.CallTimeout)
	defer cancel()

	var all mailbox.UIDSet
	stream, err := s.svc.deps.FullText.RuleOut(ctx, req)
	for err == nil {
		var page *storev1.RuleOutResponse
		if page, err = stream.Recv(); err != nil {
			break
		}
		var uids mailbox.UIDSet
		if uids, err = mailbox.DecodeUIDSet(page.GetUids()); err == nil {
			all = append(all, uids...)
		}
	}
	switch {
	case err == io.EOF:
		if len(all) > 0 {
			s.svc.metrics.indexAsked.Inc()
		}
		return all
	case status.Code(err) != codes.Unimplemented && ctx.Err() == nil:
		// Unimplemented is a store without an index.
		s.log.InfoContext(ctx, "searched without the full-text index", obs.Error(err))
	}
	return nil
}
