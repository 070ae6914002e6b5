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
	q := index.SnapshotQuery{
		Account: a, Mailbox: box, Since: mailbox.ModSeq(req.GetSinceModSeq()), TakeRecent: req.GetTakeRecent() && !foreign(req), Reader: s.reader(req),
	}
	if req.GetTakesFlags() {
		q.Recall = func(from, to mailbox.ModSeq) ([]mailbox.Packed, bool) {
			return s.flagged.between(boxID{a, box}, from, to)
		}
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(stream.Context(), s.cfg.SnapshotTime)
	defer cancel()
	p := pageSender{stream: stream, ctx: ctx, cancel: cancel}
	err = s.deps.Mailboxes.Snapshot(ctx, q, p.take)
	if err := p.end(err); err != nil {
		return err
	}
	s.metrics.snapshotTime.Observe(time.Since(start).Seconds())
	return nil
}

// pageSender sends the pages of a snapshot: the last one once the database is done with, those before it while it is read.
type pageSender struct {
	stream grpc.ServerStreamingServer[storev1.SnapshotResponse]
	ctx    context.Context
	cancel func()

	last  *index.Page      // of a snapshot of one page, which most are
	pages chan *index.Page // of one of more
	sent  chan error
}

// take takes a page of the database.
func (p *pageSender) take(page *index.Page) error {
	if p.pages == nil && page.Done {
		p.last = page
		return nil
	}
	if p.pages == nil {
		p.pages, p.sent = make(chan *index.Page, snapshotAhead), make(chan error, 1)
		go p.send()
	}
	select {
	case p.pages <- page:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// send sends pages until there are no more, or until they cannot be sent; nobody waits for what comes then.
func (p *pageSender) send() {
	for page := range p.pages {
		if err := p.stream.Send(fromPage(page)); err != nil {
			p.cancel()
			p.sent <- err
			return
		}
	}
	p.sent <- nil
}

// end sends what is left of a snapshot that was read, err being what that ended with. What it gives is a status.
func (p *pageSender) end(err error) error {
	if p.pages != nil {
		close(p.pages)
		if unsent := <-p.sent; unsent != nil {
			return unsent
		}
	}
	switch {
	case err != nil:
		return toStatus(err)
	case p.last != nil:
		return p.stream.Send(fromPage(p.last))
	}
	return nil
}

// fromPage gives the contract's form; it shares the page's memory.
func fromPage(p *index.Page) *storev1.SnapshotResponse {
	resp := &storev1.SnapshotResponse{Done: p.Done, Complete: p.Complete, FlagsOnly: p.FlagsOnly, Chunks: make([]*storev1.Chunk, len(p.Chunks))}
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
