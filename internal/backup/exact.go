package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/backup/repo"
	"github.com/mailfarm/mailfarm/internal/index/whole"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// loadBatch and loadBytes bound how many emails one call puts back.
	loadBatch = 256
	loadBytes = 16 << 20
	// loadPiece is how much of a body one message of a stream carries.
	loadPiece = 64 << 10
	// maxStored bounds how many bodies are remembered that were put back.
	maxStored = 500_000
)

// emailLine is a line of the table email.
type emailLine struct {
	ID       uint64       `json:"email,string"`
	Thread   uint64       `json:"thread,string"`
	Size     int64        `json:"size"`
	Received time.Time    `json:"received_ns"`
	Body     string       `json:"body"`
	Missing  string       `json:"missing"`
	Overlay  *overlayJSON `json:"overlay"`
}

func emailOf(fields map[string]json.RawMessage) (*emailLine, error) {
	b, err := json.Marshal(fields)
	e := &emailLine{}
	if err == nil {
		err = json.Unmarshal(b, e)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLine, err)
	}
	return e, nil
}

// exact puts an account back as it was, with ids, UIDs and MODSEQs, where there is nothing of it. dropped: the farm has
// dropped it for good, and takes nothing under its id.
func (r *restore) exact(ctx context.Context, line accountLine, id uint64) (dropped bool, err error) {
	if line.Rows == "" {
		return false, nil // nothing was ever written to it
	}
	if _, err := r.Store.Missing(ctx, &storev1.MissingRequest{Account: id}); status.Code(err) == codes.FailedPrecondition {
		return true, nil
	} else if err != nil {
		return false, err
	}
	var batch []*emailLine
	err = readLines(ctx, r.Repo, line.Rows, func(fields map[string]json.RawMessage) error {
		if stringOf(fields, "table") != whole.Emails {
			return nil
		}
		e, err := emailOf(fields)
		if err != nil {
			return err
		}
		if batch = append(batch, e); len(batch) < loadBatch {
			return nil
		}
		full := batch
		batch = nil
		return r.emails(ctx, id, full)
	})
	if err == nil {
		err = r.emails(ctx, id, batch)
	}
	if err != nil {
		return false, err
	}
	return false, r.rows(ctx, id, line.Rows, nil)
}

// emails puts those back that are not there, a call's worth at a time.
func (r *restore) emails(ctx context.Context, id uint64, list []*emailLine) error {
	if len(list) == 0 {
		return nil
	}
	req := &storev1.MissingRequest{Account: id}
	for _, e := range list {
		req.Emails = append(req.Emails, e.ID)
	}
	resp, err := r.Store.Missing(ctx, req)
	if err != nil {
		return err
	}
	missing := map[uint64]bool{}
	for _, e := range resp.GetEmails() {
		missing[e] = true
	}
	var open []*emailLine
	octets := int64(0)
	for i, e := range list {
		if missing[e.ID] {
			open, octets = append(open, e), octets+e.Size
		} else {
			r.out.Present++
		}
		if len(open) == 0 || octets < loadBytes && i < len(list)-1 {
			continue
		}
		if err := r.loadEmails(ctx, id, open); err != nil {
			return err
		}
		open, octets = nil, 0
	}
	return nil
}

// loadEmails makes one call; a second one where a body that it counted on is not there any more.
func (r *restore) loadEmails(ctx context.Context, id uint64, list []*emailLine) error {
	err := r.tryEmails(ctx, id, list)
	if status.Code(err) == codes.Aborted {
		clear(r.stored)
		err = r.tryEmails(ctx, id, list)
	}
	for {
		email, reason, ok := r.skips(err)
		if !ok {
			break
		}
		for _, e := range list {
			if e.ID == email {
				e.Missing = reason
			}
		}
		err = r.tryEmails(ctx, id, list)
	}
	if err != nil {
		return err
	}
	r.out.Messages += int64(len(list))
	for _, e := range list {
		r.out.Octets += e.Size
		if e.Missing != "" {
			r.out.Unreadable++
		}
	}
	r.Say(*r.out)
	return nil
}

func (r *restore) tryEmails(ctx context.Context, id uint64, list []*emailLine) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.Store.LoadEmails(ctx)
	if err != nil {
		return err
	}
	send := func(m *storev1.LoadEmailsRequest) error { return stream.Send(m) }
	for _, e := range list {
		if err = r.sendEmail(ctx, id, e, send); err != nil {
			break
		}
	}
	if err != nil && !isEOF(err) {
		return err
	}
	resp, err := stream.CloseAndRecv() // tells why a send failed
	if err != nil {
		return err
	}
	if len(resp.GetBlobIds()) != len(list) {
		return fmt.Errorf("the farm told of %d emails, not %d", len(resp.GetBlobIds()), len(list))
	}
	if len(r.stored) >= maxStored {
		clear(r.stored)
	}
	for i, e := range list {
		if d, err := repo.ParseDigest(e.Body); err == nil && e.Missing == "" {
			r.stored[[20]byte(d[:20])] = resp.GetBlobIds()[i]
		}
	}
	return nil
}

func (r *restore) sendEmail(ctx context.Context, id uint64, e *emailLine, send func(*storev1.LoadEmailsRequest) error) error {
	start := &storev1.LoadEmail{Account: id, Email: e.ID, Thread: e.Thread, ReceivedNs: e.Received.UnixNano(), Size: e.Size, Overlay: e.Overlay.overlay()}
	end := &storev1.LoadEmailsRequest{Part: &storev1.LoadEmailsRequest_End{End: true}}
	data := func(b []byte) error {
		return send(&storev1.LoadEmailsRequest{Part: &storev1.LoadEmailsRequest_Data{Data: b}})
	}
	begin := func() error {
		return send(&storev1.LoadEmailsRequest{Part: &storev1.LoadEmailsRequest_Start{Start: start}})
	}
	if e.Missing != "" {
		// Its place in the folder stays, with a word instead of the message.
		text := unreadable(e.Missing)
		start.Size, start.Overlay = int64(len(text)), nil
		for _, step := range []func() error{begin, func() error { return data(text) }, func() error { return send(end) }} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}
	d, err := repo.ParseDigest(e.Body)
	if err != nil {
		return fmt.Errorf("email %d: %w", e.ID, err)
	}
	if start.BlobId = r.stored[[20]byte(d[:20])]; len(start.BlobId) > 0 {
		if err := begin(); err != nil {
			return err
		}
		return send(end)
	}
	if err := begin(); err != nil {
		return err
	}
	if err := r.Repo.Read(ctx, repo.Body, d, func(body io.Reader, _ int64) error { return inPieces(body, data) }); err != nil {
		return bodyError(e.ID, err)
	}
	return send(end)
}

// unreadable stands for a message that the backup has no whole body of.
func unreadable(reason string) []byte {
	return []byte("Subject: [this message could not be read: the backup has no whole copy of it]\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
		strings.NewReplacer("\r", " ", "\n", " ").Replace(reason) + "\r\n")
}

func inPieces(body io.Reader, data func([]byte) error) error {
	for {
		buf := make([]byte, loadPiece) // not reused: gRPC may look at it after a send
		n, err := io.ReadFull(body, buf)
		if n > 0 {
			if err := data(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// rows puts back all lines but those of emails; of them, where wanted is not nil, those that it tells.
func (r *restore) rows(ctx context.Context, id uint64, object string, wanted func(*whole.Table, *storev1.BackupRow) (bool, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.Store.LoadRows(ctx)
	if err != nil {
		return err
	}
	req := &storev1.LoadRowsRequest{Account: id}
	numbers := map[string]uint32{}
	for i, t := range whole.Tables {
		req.Tables = append(req.Tables, &storev1.BackupTable{Name: t.Name, Columns: t.Names()})
		numbers[t.Name] = uint32(i)
	}
	words := keywords{}
	size := 0
	err = readLines(ctx, r.Repo, object, func(fields map[string]json.RawMessage) error {
		name := stringOf(fields, "table")
		t := whole.Find(name)
		if t == nil || name == whole.Emails {
			return nil
		}
		if name == "mailbox" {
			if box, err := strconv.ParseInt(stringOf(fields, "mailbox"), 10, 64); err == nil {
				words[box] = strings.Fields(stringOf(fields, "keywords"))
			}
		}
		row, err := row(t, numbers[name], fields, words)
		take := err == nil
		if take && wanted != nil {
			take, err = wanted(t, row)
		}
		if err != nil || !take {
			return err
		}
		req.Rows = append(req.Rows, row)
		for _, v := range fields {
			size += len(v)
		}
		if size < 1<<20 && len(req.Rows) < 1000 {
			return nil
		}
		full := req
		req, size = &storev1.LoadRowsRequest{}, 0
		return stream.Send(full)
	})
	if err == nil {
		err = stream.Send(req)
	}
	if err != nil && !isEOF(err) {
		return err
	}
	_, err = stream.CloseAndRecv()
	return err
}

// queue puts messages of the queue back.
func (r *restore) queue(ctx context.Context, object string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b, err := readObject(ctx, r.Repo, object)
	if err != nil {
		return err
	}
	stream, err := r.Store.LoadQueue(ctx)
	if err != nil {
		return err
	}
	err = repo.EachLine(bytes.NewReader(b), func(line []byte) error { return r.queued(ctx, line, stream.Send) })
	if err != nil && !isEOF(err) {
		return err
	}
	resp, err := stream.CloseAndRecv()
	r.out.Queued += resp.GetLoaded()
	r.out.Known += resp.GetKnown()
	return err
}

func (r *restore) queued(ctx context.Context, line []byte, send func(*storev1.LoadQueueRequest) error) error {
	var l queueLine
	if err := json.Unmarshal(line, &l); err != nil {
		return fmt.Errorf("%w: %w", ErrLine, err)
	}
	if l.Body == "" {
		r.out.Unreadable++
		r.conflict("queue id %s cannot be restored, as the backup could not read it: %s", l.QueueID, l.Missing)
		return nil
	}
	item, err := l.item()
	if err != nil {
		return err
	}
	d, err := repo.ParseDigest(l.Body)
	if err != nil {
		return err
	}
	if err := send(&storev1.LoadQueueRequest{Part: &storev1.LoadQueueRequest_Start{Start: item}}); err != nil {
		return err
	}
	err = r.Repo.Read(ctx, repo.Body, d, func(body io.Reader, _ int64) error {
		return inPieces(body, func(b []byte) error {
			return send(&storev1.LoadQueueRequest{Part: &storev1.LoadQueueRequest_Data{Data: b}})
		})
	})
	if err != nil {
		return err
	}
	return send(&storev1.LoadQueueRequest{Part: &storev1.LoadQueueRequest_End{End: true}})
}
