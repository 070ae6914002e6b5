package store

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// snapshotAhead is how many pages are read ahead of a slow caller: a mailbox of half a million entries, or some 5 MiB,
// leaves the database at once.
const snapshotAhead = 64

// Snapshot streams a mailbox. The database is read at its own pace and not at the caller's, who has SnapshotTime in all.
func (s *mailboxes) Snapshot(req *storev1.SnapshotRequest, stream grpc.ServerStreamingServer[storev1.SnapshotResponse]) error {
	a, box, err := accountAndBox(req.GetAccount(), req.GetMailbox())
	if err != nil {
		return err
	}
	if err := s.may(stream.Context(), req, box, acl.Read); err != nil {
		return err
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(stream.Context(), s.cfg.SnapshotTime)
	defer cancel()
	pages := make(chan *index.Page, snapshotAhead)
	read := make(chan error, 1)
	go func() {
		defer close(pages)
		read <- s.deps.Mailboxes.Snapshot(ctx, index.SnapshotQuery{
			Account: a, Mailbox: box, Since: mailbox.ModSeq(req.GetSinceModSeq()), TakeRecent: req.GetTakeRecent() && !foreign(req), Reader: s.reader(req),
		}, func(p *index.Page) error {
			select {
			case pages <- p:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for p := range pages {
		if err := stream.Send(fromPage(p)); err != nil {
			cancel()
			<-read
			return err
		}
	}
	if err := <-read; err != nil {
		return toStatus(err)
	}
	s.metrics.snapshotTime.Observe(time.Since(start).Seconds())
	return nil
}

// fromPage gives the contract's form; it shares the page's memory.
func fromPage(p *index.Page) *storev1.SnapshotResponse {
	resp := &storev1.SnapshotResponse{Done: p.Done, Complete: p.Complete, Chunks: make([]*storev1.Chunk, len(p.Chunks))}
	if p.Mailbox != nil {
		resp.Mailbox = fromMailbox(p.Mailbox)
	}
	if len(p.Expunged) > 0 {
		resp.Expunged = mailbox.AppendUIDSet(nil, p.Expunged)
	}
	chunks := make([]storev1.Chunk, len(p.Chunks))
	for i := range p.Chunks {
		c, out := &p.Chunks[i], &chunks[i]
		out.FirstUid, out.MaxModSeq = uint32(c.FirstUID), uint64(c.MaxModSeq)
		out.Uids, out.Flags, out.ModSeqs = c.UIDs, c.Flags, c.ModSeqs
		out.Emails, out.Sizes, out.Received, out.Saved = c.Emails, c.Sizes, c.Received, c.Saved
		resp.Chunks[i] = out
	}
	return resp
}
