package store

import (
	"slices"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// emailsRead is how many emails are read at once.
	emailsRead = 64
	// emailsBytes is about how much one response carries: a part index may have a MiB.
	emailsBytes = 256 << 10
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
	ids := make([]mailbox.EmailID, 0, emailsRead)
	for part := range slices.Chunk(req.GetEmails(), emailsRead) {
		ids = ids[:0]
		for _, id := range part {
			ids = append(ids, mailbox.EmailID(id))
		}
		emails, err := s.deps.Mailboxes.Emails(stream.Context(), a, ids, !req.GetWithoutPartIndex())
		if err != nil {
			return toStatus(err)
		}
		if !req.GetWithoutPartIndex() {
			for i := range emails {
				s.reindex(stream.Context(), a, &emails[i])
			}
		}
		if err := sendEmails(stream, emails); err != nil {
			return err
		}
	}
	return nil
}

func sendEmails(stream grpc.ServerStreamingServer[storev1.EmailsResponse], emails []index.Email) error {
	var resp storev1.EmailsResponse
	size := 0
	for i := range emails {
		e := &emails[i]
		n := len(e.PartIndex) + len(e.Overlay.GetPrefix())
		if size > 0 && size+n > emailsBytes {
			if err := stream.Send(&resp); err != nil {
				return err
			}
			resp, size = storev1.EmailsResponse{}, 0
		}
		size += n
		resp.Emails = append(resp.Emails, &storev1.Email{
			Id: uint64(e.ID), Thread: uint64(e.Thread), BlobId: e.Blob.Bytes(), Overlay: e.Overlay,
			PartIndex: e.PartIndex, Size: e.Size, ReceivedNs: e.Received.UnixNano(),
		})
	}
	if len(resp.Emails) == 0 {
		return nil
	}
	return stream.Send(&resp)
}
