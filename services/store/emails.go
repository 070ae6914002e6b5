package store

import (
	"context"
	"io"
	"slices"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/rpc"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// emailsRead is how many emails are read at once.
	emailsRead = 64
	// emailsBytes is about how much one response carries: a part index may have a MiB.
	emailsBytes = 256 << 10
	// emailsKept is up to how many emails of one call are kept in memory, and looked for there: who asks for more goes through a
	// mailbox, and would push out what others ask for again and again.
	emailsKept = 128
	// bodiesAlong is how many octets of bodies one call carries at most.
	bodiesAlong = 1 << 20
)

// Emails streams emails in the order asked for.
func (s *mailboxes) Emails(req *storev1.EmailsRequest, stream grpc.ServerStreamingServer[storev1.EmailsResponse]) error {
	a, err := account(req.GetAccount())
	if err != nil {
		return err
	}
	if err := s.may(stream.Context(), req, mailbox.ID(req.GetMailbox()), acl.Read); err != nil {
		return err
	}
	if len(req.GetEmails()) > MaxEmails {
		return invalid("%d emails, more than %d", len(req.GetEmails()), MaxEmails)
	}
	bodies := min(req.GetBodiesUpTo(), bodiesAlong)
	read := s.keptEmails
	if len(req.GetEmails()) > emailsKept {
		read = s.readEmails
	}
	ids := make([]mailbox.EmailID, 0, emailsRead)
	for part := range slices.Chunk(req.GetEmails(), emailsRead) {
		ids = ids[:0]
		for _, id := range part {
			ids = append(ids, mailbox.EmailID(id))
		}
		emails, err := read(stream.Context(), a, ids, !req.GetWithoutPartIndex())
		if err != nil {
			return toStatus(err)
		}
		if err := s.sendEmails(stream, emails, &bodies); err != nil {
			return err
		}
	}
	return nil
}

// readEmails reads emails in the order of ids, those that are there.
func (s *mailboxes) readEmails(ctx context.Context, a mailbox.AccountID, ids []mailbox.EmailID, withPartIndex bool) ([]index.Email, error) {
	emails, err := s.deps.Mailboxes.Emails(ctx, a, ids, withPartIndex)
	if err != nil {
		return nil, err
	}
	if withPartIndex {
		for i := range emails {
			s.reindex(ctx, a, &emails[i])
		}
	}
	return emails, nil
}

// keptEmails is readEmails of those that are not kept in memory; they are from now on.
func (s *mailboxes) keptEmails(ctx context.Context, a mailbox.AccountID, ids []mailbox.EmailID, withPartIndex bool) ([]index.Email, error) {
	found := make([]index.Email, len(ids))
	missing, drops := s.emails.get(a, ids, func(i int, e index.Email) { found[i] = e })
	if len(missing) > 0 {
		read, err := s.readEmails(ctx, a, missing, withPartIndex)
		if err != nil {
			return nil, err
		}
		if withPartIndex {
			s.emails.add(a, drops, read)
		}
		// They come in the order asked for.
		for i := range found {
			if len(read) > 0 && read[0].ID == ids[i] {
				found[i], read = read[0], read[1:]
			}
		}
	}
	emails := found[:0]
	for _, e := range found {
		if e.Blob.IsZero() {
			continue // not there
		}
		if !withPartIndex {
			e.PartIndex = nil
		}
		emails = append(emails, e)
	}
	return emails, nil
}

// sendEmails sends emails, each with its body as long as bodies has room for it. What is kept of an email in memory is sent as it
// is: nobody changes it.
func (s *mailboxes) sendEmails(stream grpc.ServerStreamingServer[storev1.EmailsResponse], emails []index.Email, bodies *int64) error {
	resp, size := &storev1.EmailsResponse{}, 0
	for i := range emails {
		e := &emails[i]
		var body []byte
		if e.Size <= *bodies {
			body = s.bodyAlong(stream.Context(), e)
			*bodies -= int64(len(body))
		}
		n := len(e.PartIndex) + len(e.Overlay.GetPrefix()) + len(body)
		if size > 0 && size+n > emailsBytes {
			if err := stream.SendMsg(rpc.Given(resp)); err != nil {
				return err
			}
			resp, size = &storev1.EmailsResponse{}, 0
		}
		size += n
		resp.Emails = append(resp.Emails, &storev1.Email{
			Id: uint64(e.ID), Thread: uint64(e.Thread), BlobId: e.Blob.Bytes(), Overlay: e.Overlay,
			PartIndex: e.PartIndex, Size: e.Size, ReceivedNs: e.Received.UnixNano(), Body: body,
		})
	}
	if len(resp.Emails) == 0 {
		return nil
	}
	return stream.SendMsg(rpc.Given(resp))
}

// bodyAlong reads a whole body. What cannot be read is left out: who needs it opens it and hears why.
func (s *mailboxes) bodyAlong(ctx context.Context, e *index.Email) []byte {
	if e.Size <= 0 {
		return nil
	}
	frame, err := s.deps.Blobs.Open(ctx, e.Blob)
	if err != nil {
		return nil
	}
	defer frame.Close()
	if frame.Size != e.Size {
		return nil
	}
	body := make([]byte, e.Size)
	if n, err := frame.Body.ReadAt(body, 0); n < len(body) || err != nil && err != io.EOF {
		return nil
	}
	s.metrics.bodyBytes.Add(float64(len(body)))
	return body
}
