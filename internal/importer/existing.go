package importer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// existing are the messages that a mailbox had before, and that came into it otherwise than by an import: a message that is one
// of them octet by octet is not brought beside it. They are known by their sizes, and read only where one is right.
type existing struct {
	run    *Run
	bySize map[int64][]*there
	byUID  map[uint32]*there
}

// there is one of them. digest is nil until it is needed.
type there struct {
	uid    uint32
	email  uint64
	digest []byte
	// taken tells that a message of the archive is this one.
	taken bool
}

// newExisting lists a mailbox: some hundred octets of memory for each message.
func newExisting(ctx context.Context, run *Run, box uint64) (*existing, error) {
	x := &existing{run: run, bySize: map[int64][]*there{}, byUID: map[uint32]*there{}}
	stream, err := run.Mailboxes.Snapshot(ctx, &storev1.SnapshotRequest{Account: run.Account, Mailbox: box})
	if err != nil {
		return nil, err
	}
	var c mailbox.Chunk
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return x, nil
		}
		if err != nil {
			return nil, err
		}
		for _, p := range page.GetChunks() {
			if err := c.Unpack(&mailbox.Packed{
				FirstUID: mailbox.UID(p.GetFirstUid()), MaxModSeq: mailbox.ModSeq(p.GetMaxModSeq()), UIDs: p.GetUids(), Flags: p.GetFlags(),
				ModSeqs: p.GetModSeqs(), Emails: p.GetEmails(), Sizes: p.GetSizes(), Received: p.GetReceived(), Saved: p.GetSaved(),
			}); err != nil {
				return nil, err
			}
			for i := range c.Len() {
				t := &there{uid: uint32(c.UIDs[i]), email: uint64(c.Emails[i])}
				x.bySize[c.Sizes[i]] = append(x.bySize[c.Sizes[i]], t)
				x.byUID[t.uid] = t
			}
		}
	}
}

// imported notes that a message is one that was imported: no other can be it.
func (x *existing) imported(uid uint32) {
	if t := x.byUID[uid]; t != nil {
		t.taken = true
	}
}

// take looks for a message, and gives each away once.
func (x *existing) take(ctx context.Context, p *pending) (bool, error) {
	var unread []*there
	for _, t := range x.bySize[p.size] {
		if !t.taken && t.digest == nil {
			unread = append(unread, t)
		}
	}
	for part := range slices.Chunk(unread, batchMessages) {
		if err := x.read(ctx, part); err != nil {
			return false, fmt.Errorf("compare with what is there: %w", err)
		}
	}
	for _, t := range x.bySize[p.size] {
		if !t.taken && slices.Equal(t.digest, p.digest) {
			t.taken = true
			return true, nil
		}
	}
	return false, nil
}

// read digests messages. One that cannot be read is none that another could be.
func (x *existing) read(ctx context.Context, list []*there) error {
	req := &storev1.EmailsRequest{Account: x.run.Account, WithoutPartIndex: true}
	for _, t := range list {
		t.digest = []byte{}
		req.Emails = append(req.Emails, t.email)
	}
	stream, err := x.run.Mailboxes.Emails(ctx, req)
	if err != nil {
		return err
	}
	places := map[uint64]*storev1.Email{}
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		for _, e := range page.GetEmails() {
			places[e.GetId()] = e
		}
	}
	for _, t := range list {
		if e := places[t.email]; e != nil {
			if err := x.digest(ctx, t, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *existing) digest(ctx context.Context, t *there, e *storev1.Email) error {
	stream, err := x.run.Bodies.Open(ctx, &storev1.OpenRequest{Ranges: []*storev1.BodyRange{{BlobId: e.GetBlobId(), Overlay: e.GetOverlay(), Length: -1}}})
	if err != nil {
		return err
	}
	hash := sha256.New()
	for {
		p, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			t.digest = hash.Sum(nil)
			return nil
		}
		if c := status.Code(err); c == codes.NotFound || c == codes.DataLoss {
			return nil
		}
		if err != nil {
			return err
		}
		hash.Write(p.GetData())
	}
}
