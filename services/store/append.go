package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// appendCommits is how many frames of one APPEND are made durable at once; they share flushes.
const appendCommits = 16

// Append stores messages (RFC 9051 §6.3.12, RFC 3502): bodies first, then all entries in one write. A frame whose entry
// was never written is nobody's, and freeing finds it. OUT_OF_RANGE: larger than MaxMessageBytes.
func (s *mailboxes) Append(stream grpc.ClientStreamingServer[storev1.AppendRequest, storev1.AppendResponse]) error {
	commits, ctx := errgroup.WithContext(stream.Context())
	commits.SetLimit(appendCommits)
	a := &appending{mailboxes: s, commits: commits, ctx: ctx}
	err := a.receive(stream)
	if done := commits.Wait(); done != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = done
	}
	if err != nil {
		a.discard()
		return toStatus(err)
	}
	fault.Point("append.after-frames")
	for i := range a.messages {
		a.list = append(a.list, *a.messages[i])
	}
	s.domains.place(stream.Context(), a.account)
	r, err := s.deps.Mailboxes.AppendOnce(stream.Context(), a.account, a.name, a.list, a.once)
	if err != nil {
		return toStatus(err)
	}
	fault.Point("append.after-entries")
	s.metrics.appended.Add(float64(len(a.list)))
	var boxes []mailbox.ID
	if r.Mailbox != 0 {
		boxes = append(boxes, r.Mailbox)
	}
	if from := a.once.Replace; from != 0 && from != r.Mailbox {
		boxes = append(boxes, from)
	}
	s.changed(a.account, r.ModSeq, boxes...)
	resp := &storev1.AppendResponse{UidValidity: uint32(r.UIDValidity), Mailbox: uint64(r.Mailbox)}
	for _, uid := range r.UIDs {
		resp.Uids = append(resp.Uids, uint32(uid))
	}
	return stream.SendAndClose(resp)
}

// appending is one APPEND on its way.
type appending struct {
	*mailboxes
	ctx     context.Context
	commits *errgroup.Group
	account mailbox.AccountID
	name    string
	// rights are those of who appends.
	rights acl.Rights
	// messages are those that have ended; commits fill in where their frames are.
	messages []*index.Message
	list     []index.Message
	once     index.Once

	// draft is nil between messages; current, indexer and size belong to it.
	draft   blob.Draft
	current *index.Message
	indexer *message.Indexer
	size    int64
	unsized bool
}

func (a *appending) receive(stream grpc.ClientStreamingServer[storev1.AppendRequest, storev1.AppendResponse]) error {
	err := receive(a.ctx, stream, func(req *storev1.AppendRequest) error {
		switch part := req.GetPart().(type) {
		case *storev1.AppendRequest_Start:
			return a.start(part.Start)
		case *storev1.AppendRequest_Data:
			return a.data(part.Data)
		case *storev1.AppendRequest_End:
			return a.end()
		default:
			return invalid("append without a part")
		}
	})
	if err != nil {
		return err
	}
	if a.draft != nil || len(a.messages) == 0 {
		return invalid("append ends within a message or without one")
	}
	return nil
}

func (a *appending) start(start *storev1.AppendStart) error {
	if a.draft != nil {
		return invalid("append starts a message within another")
	}
	if len(a.messages) >= a.cfg.MaxAppend {
		return invalid("more than %d messages in one append", a.cfg.MaxAppend)
	}
	id, err := account(start.GetAccount())
	if err != nil {
		return err
	}
	name, err := boxName(start.GetMailbox())
	if err != nil {
		return err
	}
	if a.account != 0 && (a.account != id || a.name != name) {
		return invalid("append goes to two mailboxes")
	}
	if a.account == 0 {
		a.rights, a.once.Reader = acl.All, a.reader(start)
		if foreign(start) {
			if a.rights, _, err = a.rightsNamed(a.ctx, start, name); err != nil {
				return err
			}
		}
		if err := check(a.rights, acl.Insert); err != nil {
			return err
		}
		if err := a.begin(start); err != nil {
			return err
		}
	}
	a.account, a.name = id, name
	flags, err := flagNames(start.GetFlags())
	if err != nil {
		return err
	}
	flags = permitted(flags, a.rights) // without a word, RFC 4314 §4
	if err := a.open(start.GetSize(), start.GetReceivedNs(), flags); err != nil {
		return err
	}
	a.unsized = start.GetUnsized()
	return nil
}

// open begins a message.
func (a *appending) open(size, receivedNs int64, flags []string) (err error) {
	if size < 0 {
		return invalid("size of %d octets", size)
	}
	if size > a.cfg.MaxMessageBytes {
		return status.Errorf(codes.OutOfRange, "message of %d octets, more than %d", size, a.cfg.MaxMessageBytes)
	}
	received := a.deps.Now()
	if receivedNs != 0 {
		received = time.Unix(0, receivedNs)
	}
	if a.draft, err = a.deps.Blobs.Create(blob.ID{}); err != nil {
		return fmt.Errorf("append: begin body: %w", err)
	}
	a.current = &index.Message{Size: size, Received: received, Flags: flags}
	a.indexer, a.size, a.unsized = &message.Indexer{}, 0, false
	return nil
}

// begin reads what the first start says of the whole call.
func (a *appending) begin(start *storev1.AppendStart) error {
	if op := start.GetOperation(); len(op) > 0 {
		var err error
		if a.once.Operation, err = operation(op); err != nil {
			return err
		}
	}
	if start.GetReplaceMailbox() == 0 {
		return nil
	}
	_, box, err := accountAndBox(start.GetAccount(), start.GetReplaceMailbox())
	if err != nil {
		return err
	}
	if err := a.may(a.ctx, start, box, acl.Deleted|acl.Expunge); err != nil {
		return err
	}
	a.once.Replace, a.once.ReplaceUID = box, mailbox.UID(start.GetReplaceUid())
	return nil
}

// operation reads the name of a call that is done once.
func operation(b []byte) (op index.Operation, err error) {
	if copy(op[:], b) != len(b) || len(b) < len(op) || op == (index.Operation{}) {
		return op, invalid("operation of %d octets, or all zero; it has %d", len(b), len(op))
	}
	return op, nil
}

func (a *appending) data(data []byte) error {
	if a.draft == nil {
		return invalid("append has data outside of a message")
	}
	a.size += int64(len(data))
	switch {
	case a.unsized && a.size > a.cfg.MaxMessageBytes:
		return status.Errorf(codes.OutOfRange, "message of more than %d octets", a.cfg.MaxMessageBytes)
	case !a.unsized && a.size > a.current.Size:
		return invalid("message has more than the %d octets announced", a.current.Size)
	}
	a.indexer.Write(data) // never fails
	if _, err := a.draft.Write(data); err != nil {
		return fmt.Errorf("append: write body: %w", err)
	}
	return nil
}

// end hands the message to be made durable, beside others.
func (a *appending) end() error {
	if a.draft == nil {
		return invalid("append ends a message that has not begun")
	}
	if a.unsized {
		a.current.Size = a.size
	}
	if a.size != a.current.Size {
		return invalid("message has %d octets of the %d announced", a.size, a.current.Size)
	}
	ix, err := a.indexer.Finish()
	if err != nil {
		return fmt.Errorf("append: index body: %w", err)
	}
	m, draft := a.current, a.draft
	m.PartIndex = ix.Encode(nil)
	tail, err := proto.Marshal(&mailv1.FrameTail{
		Envelope: &mailv1.Envelope{
			Kind: mailv1.Kind_KIND_APPENDED, Size: m.Size, AcceptedNs: a.deps.Now().UnixNano(), MessageId: ix.MessageID(), Subject: ix.Subject(),
		},
		PartIndex: m.PartIndex,
	})
	if err != nil {
		return fmt.Errorf("append: encode tail: %w", err)
	}
	a.draft = nil
	a.messages = append(a.messages, m)
	a.commits.Go(func() (err error) {
		defer draft.Discard()
		if m.Blob, err = draft.Commit(a.ctx, blob.Meta{Kind: blob.Appended, Tail: tail}); err != nil {
			return fmt.Errorf("append: store body: %w", err)
		}
		return nil
	})
	return nil
}

// discard gives up what has not ended.
func (a *appending) discard() {
	if a.draft != nil {
		a.draft.Discard()
	}
}
