package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/index/whole"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// LoadEmails puts emails back: bodies first, then all rows in one write. A frame whose row was never written is nobody's, and
// freeing finds it, as after an Append.
func (s *backups) LoadEmails(stream grpc.ClientStreamingServer[storev1.LoadEmailsRequest, storev1.LoadEmailsResponse]) error {
	commits, ctx := errgroup.WithContext(stream.Context())
	commits.SetLimit(appendCommits)
	l := &loading{backups: s, ctx: ctx, commits: commits}
	err := l.receive(stream)
	if done := commits.Wait(); done != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = done
	}
	if err != nil {
		l.discard()
		return loadStatus(err)
	}
	fault.Point("backup.load-after-frames")
	list := make([]whole.Email, len(l.emails))
	resp := &storev1.LoadEmailsResponse{}
	for i, e := range l.emails {
		list[i] = *e
		resp.BlobIds = append(resp.BlobIds, e.Blob.Bytes())
	}
	if err := s.Whole.PutEmails(stream.Context(), l.account, list); err != nil {
		return loadStatus(err)
	}
	return stream.SendAndClose(resp)
}

// loading is one LoadEmails on its way.
type loading struct {
	*backups
	ctx     context.Context
	commits *errgroup.Group
	account mailbox.AccountID
	emails  []*whole.Email
	// incoming is the body under way; nil between emails, and in one whose body is there.
	incoming *incoming
	// begun is an email that has not ended.
	begun *whole.Email
}

func (l *loading) receive(stream grpc.ClientStreamingServer[storev1.LoadEmailsRequest, storev1.LoadEmailsResponse]) error {
	err := receive(l.ctx, stream, func(req *storev1.LoadEmailsRequest) error {
		switch part := req.GetPart().(type) {
		case *storev1.LoadEmailsRequest_Start:
			return l.start(part.Start)
		case *storev1.LoadEmailsRequest_Data:
			if l.incoming == nil {
				return invalid("data outside of an email that is sent")
			}
			return l.incoming.write(part.Data)
		case *storev1.LoadEmailsRequest_End:
			return l.end()
		default:
			return invalid("part of no kind")
		}
	})
	if err != nil {
		return err
	}
	if l.begun != nil || len(l.emails) == 0 {
		return invalid("the stream ends within an email or without one")
	}
	return nil
}

func (l *loading) start(e *storev1.LoadEmail) error {
	if l.begun != nil {
		return invalid("an email starts within another")
	}
	if len(l.emails) >= maxBatch {
		return invalid("more than %d emails in one call", maxBatch)
	}
	if l.account == 0 {
		a, err := l.away(l.ctx, e.GetAccount())
		if err == nil && a == 0 {
			err = invalid("emails of no account")
		}
		if err != nil {
			return err
		}
		l.account = a
	}
	if uint64(l.account) != e.GetAccount() || e.GetEmail() == 0 || e.GetEmail() >= 1<<63 || e.GetThread() >= 1<<63 {
		return invalid("email %d of account %d in a call for account %d", e.GetEmail(), e.GetAccount(), l.account)
	}
	if err := checkOverlay(e.GetOverlay()); err != nil {
		return err
	}
	l.begun = &whole.Email{ID: mailbox.EmailID(e.GetEmail()), Thread: mailbox.ThreadID(e.GetThread()),
		Message: index.Message{Overlay: e.GetOverlay(), Size: e.GetSize(), Received: time.Unix(0, e.GetReceivedNs())}}
	if len(e.GetBlobId()) > 0 {
		return l.refer(e)
	}
	in, err := l.begin(e.GetSize())
	l.incoming = in
	return err
}

// refer takes a body that is there.
func (l *loading) refer(e *storev1.LoadEmail) error {
	id, err := blob.IDFrom(e.GetBlobId())
	if err != nil {
		return invalid("%v", err)
	}
	f, err := l.Blobs.Open(l.ctx, id)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Size != e.GetSize() {
		return status.Errorf(codes.Aborted, "body %s has %d octets, not %d", id, f.Size, e.GetSize())
	}
	l.begun.Blob = id
	var tail mailv1.FrameTail
	if err := proto.Unmarshal(f.Meta.Tail, &tail); err == nil {
		l.begun.PartIndex = tail.GetPartIndex()
	}
	return nil
}

func (l *loading) end() error {
	e, in := l.begun, l.incoming
	if e == nil {
		return invalid("an email ends that has not begun")
	}
	l.begun, l.incoming = nil, nil
	l.emails = append(l.emails, e)
	if in == nil {
		return nil
	}
	ix, err := in.finish()
	if err != nil {
		in.draft.Discard()
		return err
	}
	e.PartIndex = ix.Encode(nil)
	tail, err := proto.Marshal(&mailv1.FrameTail{
		Envelope: &mailv1.Envelope{Kind: mailv1.Kind_KIND_APPENDED, Size: e.Size, AcceptedNs: l.Now().UnixNano(), MessageId: ix.MessageID(), Subject: ix.Subject()},
		// Whoever shares the frame later need not look into the body.
		PartIndex: e.PartIndex,
	})
	if err != nil {
		in.draft.Discard()
		return err
	}
	l.commits.Go(func() (err error) {
		defer in.draft.Discard()
		e.Blob, err = in.draft.Commit(l.ctx, blob.Meta{Kind: blob.Appended, Tail: tail})
		return err
	})
	return nil
}

func (l *loading) discard() {
	if l.incoming != nil {
		l.incoming.draft.Discard()
	}
}

// incoming is a body being put back.
type incoming struct {
	draft   blob.Draft
	indexer message.Indexer
	left    int64
}

func (s *backups) begin(size int64) (*incoming, error) {
	// What was taken once is taken again, although the limit may be another now.
	if size < 0 || size > maxRestored {
		return nil, status.Errorf(codes.OutOfRange, "message of %d octets", size)
	}
	d, err := s.Blobs.Create(blob.ID{})
	if err != nil {
		return nil, fmt.Errorf("begin body: %w", err)
	}
	return &incoming{draft: d, left: size}, nil
}

// maxRestored bounds a body that is put back, octets.
const maxRestored = 4 << 30

func (in *incoming) write(data []byte) error {
	if in.left -= int64(len(data)); in.left < 0 {
		return invalid("message has more octets than announced")
	}
	in.indexer.Write(data) // never fails
	if _, err := in.draft.Write(data); err != nil {
		return fmt.Errorf("write body: %w", err)
	}
	return nil
}

func (in *incoming) finish() (*message.Index, error) {
	if in.left != 0 {
		return nil, invalid("message lacks %d octets of those announced", in.left)
	}
	ix, err := in.indexer.Finish()
	if err != nil {
		return nil, fmt.Errorf("index body: %w", err)
	}
	return ix, nil
}

// LoadRows puts rows back, message by message.
func (s *backups) LoadRows(stream grpc.ClientStreamingServer[storev1.LoadRowsRequest, storev1.LoadRowsResponse]) error {
	ctx := stream.Context()
	first, err := stream.Recv()
	if err == io.EOF {
		return invalid("no rows")
	}
	if err != nil {
		return err
	}
	a, err := s.away(ctx, first.GetAccount())
	if err != nil {
		return err
	}
	resp := &storev1.LoadRowsResponse{}
	for req := first; ; {
		n, err := s.putRows(ctx, a, first.GetTables(), req.GetRows())
		if err != nil {
			return loadStatus(err)
		}
		resp.Rows += n
		fault.Point("backup.load-rows")
		if req, err = stream.Recv(); err == io.EOF {
			return stream.SendAndClose(resp)
		}
		if err != nil {
			return err
		}
	}
}

// putRows writes rows; those of a table that follow each other in one write. Tables of a later version are passed over.
func (s *backups) putRows(ctx context.Context, a mailbox.AccountID, tables []*storev1.BackupTable, rows []*storev1.BackupRow) (n uint64, err error) {
	for len(rows) > 0 {
		number := rows[0].GetTable()
		if int(number) >= len(tables) {
			return n, invalid("row of table %d of %d", number, len(tables))
		}
		var batch [][]any
		for len(rows) > 0 && rows[0].GetTable() == number {
			row, err := fromRow(rows[0])
			if err != nil {
				return n, err
			}
			batch, rows = append(batch, row), rows[1:]
		}
		t := tables[number]
		if t.GetName() == whole.Emails || whole.Find(t.GetName()) == nil {
			continue
		}
		if err := s.Whole.PutRows(ctx, a, t.GetName(), t.GetColumns(), batch); err != nil {
			return n, err
		}
		n += uint64(len(batch))
	}
	return n, nil
}
