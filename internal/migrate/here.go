package migrate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// boxHere is a mailbox here as one snapshot tells of it.
type boxHere struct {
	id       uint64
	modSeq   uint64
	keywords []string
	entries  map[mailbox.UID]mailbox.Entry
}

func (p *pass) snapshot(ctx context.Context) (*boxHere, error) {
	b := &boxHere{id: p.state.Mailbox, entries: map[mailbox.UID]mailbox.Entry{}}
	err := func() error {
		stream, err := p.run.Mailboxes.Snapshot(ctx, &storev1.SnapshotRequest{Account: p.account.ID, Mailbox: b.id})
		if err != nil {
			return err
		}
		done := false
		for {
			page, err := stream.Recv()
			if errors.Is(err, io.EOF) && done {
				return nil
			}
			if err != nil {
				return err
			}
			if m := page.GetMailbox(); m != nil {
				b.modSeq, b.keywords = m.GetHighestModSeq(), m.GetKeywords()
			}
			done = page.GetDone()
			for _, c := range page.GetChunks() {
				var chunk mailbox.Chunk
				if err := chunk.Unpack(&mailbox.Packed{FirstUID: mailbox.UID(c.GetFirstUid()), MaxModSeq: mailbox.ModSeq(c.GetMaxModSeq()), UIDs: c.GetUids(), Flags: c.GetFlags(),
					ModSeqs: c.GetModSeqs(), Emails: c.GetEmails(), Sizes: c.GetSizes(), Received: c.GetReceived(), Saved: c.GetSaved()}); err != nil {
					return err
				}
				for i := range chunk.Len() {
					e := chunk.At(i)
					b.entries[e.UID] = e
				}
			}
		}
	}()
	return b, ofFarm("read entries here", err)
}

// verifyBatch is how many messages are compared at a time.
const verifyBatch = 64

// verify compares digests of what is there and here.
func (p *pass) verify(ctx context.Context) error {
	var uids []uint32
	for _, uid := range slices.Sorted(maps.Keys(p.now)) {
		if _, ok := p.state.known[uid]; ok {
			uids = append(uids, uid)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	box, err := p.snapshot(ctx)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(uids, verifyBatch) {
		emails := map[uint32]uint64{}
		if err := p.ask(ctx, batch, func(uid uint32, r *storev1.ImportResult) {
			if e, ok := box.entries[mailbox.UID(r.GetUid())]; ok && r.GetStatus() == storev1.ImportStatus_IMPORT_STATUS_PRESENT {
				emails[uid] = uint64(e.Email)
			}
		}); err != nil {
			return err
		}
		if len(emails) == 0 {
			continue
		}
		here, err := p.digests(ctx, slices.Compact(slices.Sorted(maps.Values(emails))))
		if err != nil {
			return ofFarm("read messages here", err)
		}
		if err := p.conn.Bodies(slices.Sorted(maps.Keys(emails)), func(uid uint32, _ int64, r io.Reader) error {
			sum := sha256.New()
			_, err := io.Copy(sum, r)
			if err == nil && here[emails[uid]] == [32]byte(sum.Sum(nil)) {
				p.report.Verified++
			} else if err == nil {
				p.leave(uid, "differs here from what is there")
			}
			return err
		}, func(uid uint32, why string) {
			p.leave(uid, "cannot be compared: "+why)
		}); err != nil {
			return err
		}
		p.moved = true
	}
	return nil
}

// digests reads messages here.
func (p *pass) digests(ctx context.Context, ids []uint64) (map[uint64][32]byte, error) {
	stream, err := p.run.Mailboxes.Emails(ctx, &storev1.EmailsRequest{Account: p.account.ID, Emails: ids, WithoutPartIndex: true})
	if err != nil {
		return nil, err
	}
	var order []uint64
	req := &storev1.OpenRequest{}
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for _, e := range page.GetEmails() {
			order = append(order, e.GetId())
			req.Ranges = append(req.Ranges, &storev1.BodyRange{BlobId: e.GetBlobId(), Overlay: e.GetOverlay(), Length: -1})
		}
	}
	sums := make([]hash.Hash, len(order))
	for i := range sums {
		sums[i] = sha256.New()
	}
	bodies, err := p.run.Bodies.Open(ctx, req)
	if err != nil {
		return nil, err
	}
	for {
		piece, err := bodies.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if int(piece.GetRange()) >= len(sums) {
			return nil, fmt.Errorf("the store told of a range %d that was not asked for", piece.GetRange())
		}
		sums[piece.GetRange()].Write(piece.GetData())
	}
	out := map[uint64][32]byte{}
	for i, id := range order {
		out[id] = [32]byte(sums[i].Sum(nil))
	}
	return out, nil
}
