package importer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// idsAtOnce is of how many messages Message-IDs are asked for at once.
const idsAtOnce = 1000

// existing are the messages that a mailbox had before, and that came into it otherwise than by an import: a message that is one
// of them, octet by octet or in all that it says, is not brought beside it. They are known by their sizes and Message-IDs, and
// read only where one is right.
type existing struct {
	run    *Run
	all    []*there
	bySize map[int64][]*there
	byUID  map[uint32]*there
	// byID are those of a Message-ID, shortened, and of none by 0; nil until that is needed.
	byID map[uint64][]*there
	// byAlike are those that were read.
	byAlike map[[sha256.Size]byte][]*there
	// others counts messages that are here with other octets, and namesakes those whose Message-ID one has that says something else.
	others, namesakes int
}

// there is one of them.
type there struct {
	uid   uint32
	email uint64
	// digest is that of its octets, empty where they cannot be read and nil until it is needed.
	digest []byte
	// taken tells that a message of the archive is this one.
	taken bool
}

// newExisting lists a mailbox: some hundred octets of memory for each message.
func newExisting(ctx context.Context, run *Run, box uint64) (*existing, error) {
	x := &existing{run: run, bySize: map[int64][]*there{}, byUID: map[uint32]*there{}, byAlike: map[[sha256.Size]byte][]*there{}}
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
				x.all = append(x.all, t)
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
	if err := x.readAll(ctx, x.bySize[p.size]); err != nil {
		return false, err
	}
	for _, t := range x.bySize[p.size] {
		if !t.taken && slices.Equal(t.digest, p.digest) {
			t.taken = true
			return true, nil
		}
	}
	if err := x.readIDs(ctx); err != nil {
		return false, fmt.Errorf("list Message-IDs: %w", err)
	}
	if err := x.readAll(ctx, x.byID[p.id]); err != nil {
		return false, err
	}
	for _, t := range x.byAlike[[sha256.Size]byte(p.alike)] {
		if !t.taken {
			t.taken = true
			x.others++
			return true, nil
		}
	}
	if p.id != 0 && len(x.byID[p.id]) > 0 {
		x.namesakes++
	}
	return false, nil
}

// readIDs finds out what Message-IDs there are.
func (x *existing) readIDs(ctx context.Context) error {
	if x.byID != nil {
		return nil
	}
	byID := map[uint64][]*there{}
	for part := range slices.Chunk(x.all, idsAtOnce) {
		req := &storev1.EmailsRequest{Account: x.run.Account}
		byEmail := make(map[uint64][]*there, len(part))
		for _, t := range part {
			if len(byEmail[t.email]) == 0 {
				req.Emails = append(req.Emails, t.email)
			}
			byEmail[t.email] = append(byEmail[t.email], t)
		}
		if err := x.emails(ctx, req, func(e *storev1.Email) {
			id := uint64(0)
			if ix, err := message.Decode(e.GetPartIndex()); err == nil {
				id = shortID(messageID([]byte(ix.MessageID())))
			}
			byID[id] = append(byID[id], byEmail[e.GetId()]...)
		}); err != nil {
			return err
		}
	}
	x.byID = byID
	return nil
}

// shortID shortens a Message-ID; 0 is none.
func shortID(id []byte) uint64 {
	if len(id) == 0 {
		return 0
	}
	sum := sha256.Sum256(id)
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}

// emails calls each with emails as they come.
func (x *existing) emails(ctx context.Context, req *storev1.EmailsRequest, each func(*storev1.Email)) error {
	stream, err := x.run.Mailboxes.Emails(ctx, req)
	if err != nil {
		return err
	}
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range page.GetEmails() {
			each(e)
		}
	}
}

// readAll reads those of a list that were not read.
func (x *existing) readAll(ctx context.Context, list []*there) error {
	var unread []*there
	for _, t := range list {
		if !t.taken && t.digest == nil {
			unread = append(unread, t)
		}
	}
	for part := range slices.Chunk(unread, batchMessages) {
		if err := x.read(ctx, part); err != nil {
			return fmt.Errorf("compare with what is there: %w", err)
		}
	}
	return nil
}

// read digests messages. One that cannot be read is none that another could be.
func (x *existing) read(ctx context.Context, list []*there) error {
	req := &storev1.EmailsRequest{Account: x.run.Account, WithoutPartIndex: true}
	for _, t := range list {
		t.digest = []byte{}
		req.Emails = append(req.Emails, t.email)
	}
	places := map[uint64]*storev1.Email{}
	if err := x.emails(ctx, req, func(e *storev1.Email) { places[e.GetId()] = e }); err != nil {
		return err
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
	hash, said := sha256.New(), newAlike()
	for {
		p, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			t.digest = hash.Sum(nil)
			sum := [sha256.Size]byte(said.sum())
			x.byAlike[sum] = append(x.byAlike[sum], t)
			return nil
		}
		if c := status.Code(err); c == codes.NotFound || c == codes.DataLoss {
			return nil
		}
		if err != nil {
			return err
		}
		hash.Write(p.GetData())
		said.Write(p.GetData())
	}
}

// noteExisting tells of messages that are much like some that came into the folder otherwise.
func (b *batch) noteExisting() {
	x := b.existing
	if x == nil {
		return
	}
	if x.others > 0 {
		b.report.note(fmt.Sprintf("%s: %d messages are here already with other line ends, another way or fields of a file", b.folder.Folder, x.others))
	}
	if x.namesakes > 0 {
		b.report.note(fmt.Sprintf("%s: %d messages have the Message-ID of one that says something else: they are here beside it", b.folder.Folder, x.namesakes))
	}
}
