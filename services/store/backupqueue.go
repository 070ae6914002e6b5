package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/ledger"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// routingTime is how long DumpQueue waits for messages that are on their way to the router, and routingLook how often it
	// looks. What is not routed then waits for a router that stands still.
	routingTime = 5 * time.Second
	routingLook = 50 * time.Millisecond
	// queuePiece is how many messages one response tells of.
	queuePiece = 64
)

// DumpQueue tells of all messages that are not final: those that nobody routed first, since what is routed meanwhile stands in
// the ledger by then.
func (s *backups) DumpQueue(req *storev1.DumpQueueRequest, out grpc.ServerStreamingServer[storev1.DumpQueueResponse]) error {
	ctx := out.Context()
	waiting, err := s.unrouted(ctx)
	if err != nil {
		return ledgerError(err)
	}
	wait := routingTime
	if ms := req.GetWaitMs(); ms != 0 {
		wait = min(wait, time.Duration(ms)*time.Millisecond)
	}
	for until := time.Now().Add(wait); len(waiting) > 0; {
		if waiting, err = s.stillUnrouted(ctx, waiting); err != nil {
			return ledgerError(err)
		}
		if len(waiting) == 0 || time.Now().After(until) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(routingLook):
		}
	}
	for _, m := range waiting {
		item := s.item(ctx, &storev1.LedgerEntry{Message: m})
		item.Unrouted = true
		if err := out.Send(&storev1.DumpQueueResponse{Items: []*storev1.QueueItem{item}}); err != nil {
			return err
		}
	}
	q := &storev1.QueueListRequest{UnfinishedOnly: true, Limit: ledger.ListMax}
	for {
		n := uint32(0)
		err := s.Ledger.List(ctx, q, func(page []*storev1.LedgerEntry) error {
			for len(page) > 0 {
				resp := &storev1.DumpQueueResponse{}
				for size := 0; len(page) > 0 && len(resp.Items) < queuePiece && size < maxAnswer; page = page[1:] {
					item := s.item(ctx, page[0])
					resp.Items = append(resp.Items, item)
					size += proto.Size(item)
					q.Before = page[0].GetMessage().GetQueueId()
					n++
				}
				if err := out.Send(resp); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return ledgerError(err)
		}
		if n < ledger.ListMax {
			return nil
		}
	}
}

// item completes an entry by what its frame tells.
func (s *backups) item(ctx context.Context, e *storev1.LedgerEntry) *storev1.QueueItem {
	item := &storev1.QueueItem{Entry: e}
	id, err := blob.IDFrom(e.GetMessage().GetBlobId())
	if err == nil {
		var f *blob.Frame
		if f, err = s.Blobs.Open(ctx, id); err == nil {
			item.Tail, item.Size = f.Meta.Tail, f.Size
			err = f.Close()
		}
	}
	if err != nil {
		item.Missing = err.Error()
	}
	return item
}

// unrouted are the messages that were accepted or made and that the ledger has no rows of, by recovery's rules.
func (s *backups) unrouted(ctx context.Context) ([]*mailv1.Accepted, error) {
	list, err := s.unroutedFrames(ctx)
	if err != nil {
		return nil, err
	}
	for last := (ledger.OutboxChild{}); ; {
		page, err := s.Ledger.Outbox(ctx, last, maxBatch)
		if err != nil {
			return nil, err
		}
		for _, c := range page {
			m := &mailv1.Accepted{}
			if err := proto.Unmarshal(c.Payload, m); err != nil {
				return nil, fmt.Errorf("decode child %s: %w", c.ID, err)
			}
			list, last = append(list, m), c
		}
		if len(page) < maxBatch {
			break
		}
	}
	for _, d := range []ledger.Decision{ledger.Undecided, ledger.Released} {
		for after := (envelope.QueueID{}); ; {
			page, err := s.Ledger.Withheld(ctx, d, after, maxBatch)
			if err != nil {
				return nil, err
			}
			for _, w := range page {
				list, after = append(list, &mailv1.Accepted{QueueId: w.ID[:], BlobId: w.BlobID.Bytes()}), w.ID
			}
			if len(page) < maxBatch {
				break
			}
		}
	}
	return list, nil
}

// unroutedFrames are those ahead of recovery's checkpoints.
func (s *backups) unroutedFrames(ctx context.Context) (list []*mailv1.Accepted, err error) {
	checkpoints, err := s.Ledger.Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	incarnations, err := s.Blobs.Incarnations(ctx)
	if err != nil {
		return nil, fmt.Errorf("list incarnations: %w", err)
	}
	for _, inc := range incarnations {
		c := checkpoints[inc.ID]
		if c.Done {
			continue
		}
		c.Incarnation = inc.ID
		var batch []*mailv1.Accepted
		flush := func() error {
			more, err := s.stillUnrouted(ctx, batch)
			list, batch = append(list, more...), nil
			return err
		}
		_, err := scanBlobs(ctx, s.Blobs, c.Position, func(f blob.Scanned) error {
			if f.Err != nil || f.Meta.Kind != blob.Accepted || !f.Origin.IsZero() {
				return nil
			}
			if tail, err := decodeTail(f.Meta.Tail); err == nil && settledByTail(tail.GetVerdict()) {
				return nil
			}
			if batch = append(batch, &mailv1.Accepted{QueueId: f.Meta.QueueID[:], BlobId: f.ID.Bytes()}); len(batch) < scanBatch {
				return nil
			}
			return flush()
		})
		if rest := flush(); err == nil {
			err = rest
		}
		if err != nil && !isUnreadable(err) {
			return nil, fmt.Errorf("scan incarnation %d: %w", inc.ID, err)
		}
	}
	return list, nil
}

// stillUnrouted leaves those that the ledger does not know, and that no operator has discarded.
func (s *backups) stillUnrouted(ctx context.Context, list []*mailv1.Accepted) (rest []*mailv1.Accepted, err error) {
	for len(list) > 0 {
		part := list[:min(len(list), maxBatch)]
		list = list[len(part):]
		ids := make([][]byte, len(part))
		for i, m := range part {
			ids[i] = m.GetQueueId()
		}
		known, err := s.Ledger.Known(ctx, ids)
		if err != nil {
			return nil, err
		}
		decisions, err := s.Ledger.Decisions(ctx, ids)
		if err != nil {
			return nil, err
		}
		for i, m := range part {
			if !known[i].Found && decisions[i] != ledger.Discarded {
				rest = append(rest, m)
			}
		}
	}
	return rest, nil
}

// LoadQueue puts messages back. What was routed is held in the ledger; what was not is withheld, as recovery does with frames
// beyond its horizon. Frames of what was routed are not of the kind that recovery publishes: it must not, where this ends
// between a frame and its row.
func (s *backups) LoadQueue(stream grpc.ClientStreamingServer[storev1.LoadQueueRequest, storev1.LoadQueueResponse]) error {
	resp := &storev1.LoadQueueResponse{}
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			return stream.SendAndClose(resp)
		}
		if err != nil {
			return err
		}
		start := req.GetStart()
		if start == nil {
			return invalid("a message begins without its start")
		}
		loaded, err := s.loadItem(stream, start)
		if err != nil {
			return loadStatus(ledgerError(err))
		}
		if loaded {
			resp.Loaded++
		} else {
			resp.Known++
		}
	}
}

func (s *backups) loadItem(stream grpc.ClientStreamingServer[storev1.LoadQueueRequest, storev1.LoadQueueResponse], item *storev1.QueueItem) (bool, error) {
	ctx := stream.Context()
	m := item.GetEntry().GetMessage()
	id, err := envelope.QueueIDFrom(m.GetQueueId())
	if err != nil {
		return false, invalid("%v", err)
	}
	ids := [][]byte{id[:]}
	known, err := s.Ledger.Known(ctx, ids)
	if err != nil {
		return false, err
	}
	decisions, err := s.Ledger.Decisions(ctx, ids)
	if err != nil {
		return false, err
	}
	if known[0].Found || decisions[0] != ledger.NotWithheld {
		return false, pass(stream)
	}
	at, err := s.loadFrame(stream, item, id)
	if err != nil {
		return false, err
	}
	fault.Point("backup.load-queue-frame")
	if item.GetUnrouted() {
		return true, s.Ledger.Withhold(ctx, []ledger.Withheld{{ID: id, BlobID: at}})
	}
	m.BlobId = at.Bytes()
	for _, r := range item.GetEntry().GetRecipients() {
		if r.State == storev1.State_STATE_QUEUED {
			r.State = storev1.State_STATE_HELD
			r.LastReply = "restored from a backup: release it where it was not sent since. " + r.LastReply
		}
		// Hints of before must find another generation.
		r.Generation++
	}
	_, err = s.Ledger.Record(ctx, []*storev1.Routed{{Message: m, Recipients: item.GetEntry().GetRecipients()}})
	return true, err
}

// pass reads past a body that nobody wants.
func pass(stream grpc.ClientStreamingServer[storev1.LoadQueueRequest, storev1.LoadQueueResponse]) error {
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			return invalid("the stream ends within a message")
		}
		if err != nil || req.GetEnd() {
			return err
		}
	}
}

func (s *backups) loadFrame(stream grpc.ClientStreamingServer[storev1.LoadQueueRequest, storev1.LoadQueueResponse], item *storev1.QueueItem, id envelope.QueueID) (blob.ID, error) {
	in, err := s.begin(item.GetSize())
	if err != nil {
		return blob.ID{}, err
	}
	defer in.draft.Discard()
	for {
		req, err := stream.Recv()
		if err == io.EOF {
			err = invalid("the stream ends within a message")
		}
		if err != nil {
			return blob.ID{}, err
		}
		if req.GetEnd() {
			break
		}
		if err := in.write(req.GetData()); err != nil {
			return blob.ID{}, err
		}
	}
	if _, err := in.finish(); err != nil {
		return blob.ID{}, err
	}
	kind := blob.Generated
	if item.GetUnrouted() {
		kind = blob.Accepted
	}
	if _, err := decodeTail(item.GetTail()); err != nil {
		return blob.ID{}, errors.Join(invalid("queue id %s: tail cannot be read", id), err)
	}
	return in.draft.Commit(stream.Context(), blob.Meta{Kind: kind, QueueID: id, Tail: item.GetTail()})
}
