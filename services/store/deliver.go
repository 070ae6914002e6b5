package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Deliver files a batch in one write, or in several where part indexes that must be read from frames are large: those of one
// write are in memory at once. An error leaves open which were filed; a repeat files the rest. What is wrong with one delivery makes that one FAILED, not its neighbours.
func (s *mailboxes) Deliver(ctx context.Context, req *storev1.DeliverRequest) (*storev1.DeliverResponse, error) {
	if len(req.GetDeliveries()) > MaxDeliveries {
		return nil, invalid("%d deliveries, more than %d", len(req.GetDeliveries()), MaxDeliveries)
	}
	start := time.Now()
	resp := &storev1.DeliverResponse{Results: make([]*storev1.DeliverResult, len(req.GetDeliveries()))}
	var list []index.Delivery
	var place []int // of a delivery in the request
	octets := 0
	file := func() error {
		if len(list) == 0 {
			return nil
		}
		accounts := make([]mailbox.AccountID, len(list))
		for i := range list {
			accounts[i] = list[i].Account
		}
		s.domains.place(ctx, accounts...)
		results, err := s.deps.Mailboxes.Deliver(ctx, list)
		if err != nil {
			return toStatus(err)
		}
		fault.Point("store.before-deliver-notify")
		s.notifyDelivered(list, results)
		s.traceDelivered(list, results, time.Since(start))
		for i := range results {
			resp.Results[place[i]] = s.deliverResult(ctx, req.GetDeliveries()[place[i]], &results[i])
		}
		list, place, octets = nil, nil, 0
		return nil
	}
	for i, d := range req.GetDeliveries() {
		delivery, err := s.delivery(ctx, d)
		if err != nil {
			resp.Results[i] = s.deliverResult(ctx, d, &index.DeliverResult{Status: index.Failed, Err: err})
			continue
		}
		list, place, octets = append(list, delivery), append(place, i), octets+len(delivery.PartIndex)
		if octets < maxTails {
			continue
		}
		if err := file(); err != nil {
			return nil, err
		}
	}
	if err := file(); err != nil {
		return nil, err
	}
	s.metrics.batch.Observe(float64(len(req.GetDeliveries())))
	s.metrics.deliverTime.Observe(time.Since(start).Seconds())
	fault.Point("store.before-deliver-reply")
	return resp, nil
}

// traceDelivered tells a collector of what was filed.
func (s *mailboxes) traceDelivered(list []index.Delivery, results []index.DeliverResult, took time.Duration) {
	if s.deps.Trace == nil {
		return
	}
	for i := range results {
		if results[i].Status == index.Delivered {
			s.deps.Trace.Emit(&mailv1.TraceEvent{
				Stage: "store", Event: "filed", Role: "store", QueueId: list[i].QueueID[:], DurationUs: took.Microseconds(),
			})
		}
	}
}

// delivery reads the contract's form.
func (s *mailboxes) delivery(ctx context.Context, d *storev1.Delivery) (out index.Delivery, err error) {
	if out.QueueID, err = envelope.QueueIDFrom(d.GetQueueId()); err != nil {
		return out, fmt.Errorf("queue id: %w", err)
	}
	if out.Account, err = account(d.GetAccount()); err != nil {
		return out, err
	}
	if out.Blob, err = blob.IDFrom(d.GetBlobId()); err != nil {
		return out, err
	}
	if err := checkOverlay(d.GetOverlay()); err != nil {
		return out, err
	}
	switch {
	case d.GetSize() < 0 || d.GetSize() > math.MaxInt64/2:
		return out, invalid("size of %d octets", d.GetSize())
	case len(d.GetPlacements()) > MaxPlacements:
		return out, invalid("%d placements, more than %d", len(d.GetPlacements()), MaxPlacements)
	case len(d.GetChildren()) > MaxChildren:
		return out, invalid("%d children, more than %d", len(d.GetChildren()), MaxChildren)
	}
	out.Number, out.Generation = d.GetNumber(), d.GetGeneration()
	out.Overlay, out.PartIndex = d.GetOverlay(), d.GetPartIndex()
	out.Size, out.Received = d.GetSize(), time.Unix(0, d.GetReceivedNs())
	out.Children = d.GetChildren()
	for _, p := range d.GetPlacements() {
		out.Placements = append(out.Placements, placement(p))
	}
	if len(out.PartIndex) == 0 {
		out.PartIndex, err = s.partIndex(ctx, out.Blob)
	}
	return out, err
}

// placement reads the contract's form. Mail is not refused for a bad name or flag: they are left out.
func placement(p *storev1.Placement) index.Placement {
	use, err := specialUse(p.GetSpecialUse())
	if err != nil {
		use = ""
	}
	name, err := boxName(p.GetName())
	if err != nil {
		name = ""
	}
	flags := slices.DeleteFunc(slices.Clone(p.GetFlags()), func(f string) bool { return !isFlag(f) })
	if len(flags) > MaxFlags {
		flags = flags[:MaxFlags]
	}
	return index.Placement{SpecialUse: use, Name: name, Create: p.GetCreate(), Flags: flags}
}

// partIndex reads it from the frame's tail.
func (s *mailboxes) partIndex(ctx context.Context, id blob.ID) ([]byte, error) {
	f, err := s.deps.Blobs.Open(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("open body %s: %w", id, err)
	}
	defer f.Close()
	var tail mailv1.FrameTail
	if err := proto.Unmarshal(f.Meta.Tail, &tail); err != nil {
		return nil, fmt.Errorf("read tail of body %s: %w", id, err)
	}
	return tail.GetPartIndex(), nil
}

// checkOverlay bounds an overlay.
func checkOverlay(o *mailv1.Overlay) error {
	if len(o.GetPrefix()) > MaxOverlayPrefix || len(o.GetCuts()) > MaxCuts {
		return invalid("overlay of %d octets and %d cuts, more than %d and %d", len(o.GetPrefix()), len(o.GetCuts()), MaxOverlayPrefix, MaxCuts)
	}
	return nil
}

// deliverResult gives the contract's form.
func (s *mailboxes) deliverResult(ctx context.Context, d *storev1.Delivery, r *index.DeliverResult) *storev1.DeliverResult {
	s.metrics.byStatus[r.Status].Inc()
	out := &storev1.DeliverResult{Status: storev1.DeliverStatus(r.Status), Email: uint64(r.Email), Mailbox: uint64(r.Mailbox), Uid: uint32(r.UID)}
	if r.Err != nil {
		out.Error = r.Err.Error()
	}
	if r.Status == index.Failed {
		id, _ := envelope.QueueIDFrom(d.GetQueueId())
		s.deps.Log.WarnContext(ctx, "delivery failed", obs.QueueID(id), obs.Recipient(d.GetNumber()), obs.Account(mailbox.AccountID(d.GetAccount())), obs.Error(r.Err))
	}
	return out
}

// notifyDelivered publishes one notice per account.
func (s *mailboxes) notifyDelivered(list []index.Delivery, results []index.DeliverResult) {
	type change struct {
		boxes []mailbox.ID
		seq   mailbox.ModSeq
	}
	changes := make(map[mailbox.AccountID]change, len(list))
	for i := range results {
		if len(results[i].Changed) == 0 {
			continue
		}
		c := changes[list[i].Account]
		for _, b := range results[i].Changed {
			if !slices.Contains(c.boxes, b) {
				c.boxes = append(c.boxes, b)
			}
		}
		c.seq = max(c.seq, results[i].ModSeq)
		changes[list[i].Account] = c
	}
	for a, c := range changes {
		s.changed(a, c.seq, c.boxes...)
	}
}
