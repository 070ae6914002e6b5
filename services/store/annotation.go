package store

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/acl"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/metadata"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Bounds of one call about annotations.
const (
	maxAnnotationNames = 1000
	// annotationBoxes is of how many mailboxes entries are read at a time, and annotationPage how many octets a response has.
	annotationBoxes = 256
	annotationPage  = 256 << 10
)

// annotations serves storev1.Annotations.
type annotations struct {
	storev1.UnimplementedAnnotationsServer
	*Service
}

// GetAnnotations tells entries of mailboxes.
func (s *annotations) GetAnnotations(req *storev1.GetAnnotationsRequest, stream grpc.ServerStreamingServer[storev1.GetAnnotationsResponse]) error {
	ctx := stream.Context()
	a, err := account(req.GetAccount())
	if err != nil {
		return err
	}
	if len(req.GetNames()) > maxAnnotationNames || len(req.GetMailboxes()) > index.MaxMailboxes {
		return invalid("%d names of %d mailboxes", len(req.GetNames()), len(req.GetMailboxes()))
	}
	names := make([]string, len(req.GetNames()))
	for i, n := range req.GetNames() {
		if names[i], err = metadata.Name(n, req.GetDepth() != 0); err != nil {
			return invalid("%v", err)
		}
	}
	boxes, err := s.readable(ctx, req)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(boxes, annotationBoxes) {
		list, err := s.deps.Annotations.Annotations(ctx, a, some, reader(req))
		if err != nil {
			return toStatus(err)
		}
		page, size := &storev1.GetAnnotationsResponse{}, 0
		for _, e := range list {
			if !metadata.Wanted(e.Name, names, req.GetDepth()) {
				continue
			}
			page.Annotations = append(page.Annotations, &storev1.Annotation{Mailbox: uint64(e.Mailbox), Name: e.Name, Value: e.Value})
			if size += len(e.Name) + len(e.Value); size < annotationPage {
				continue
			}
			if err := stream.Send(page); err != nil {
				return err
			}
			page, size = &storev1.GetAnnotationsResponse{}, 0
		}
		if len(page.Annotations) > 0 {
			if err := stream.Send(page); err != nil {
				return err
			}
		}
	}
	return nil
}

// reader is whose own entries a request is about.
func reader(req asked) mailbox.AccountID {
	if req.GetActor() == 0 {
		return mailbox.AccountID(req.GetAccount())
	}
	return mailbox.AccountID(req.GetActor())
}

// readable are the mailboxes of a request that who asks may read. One that may not be read is an error where it is the only one.
func (s *annotations) readable(ctx context.Context, req *storev1.GetAnnotationsRequest) ([]mailbox.ID, error) {
	boxes := make([]mailbox.ID, 0, len(req.GetMailboxes()))
	for _, id := range req.GetMailboxes() {
		boxes = append(boxes, mailbox.ID(id))
	}
	if !foreign(req) {
		return boxes, nil
	}
	if len(boxes) == 1 {
		return boxes, s.mayNote(ctx, req, boxes[0], acl.Lookup)
	}
	access, err := s.access(ctx, req, index.AccessQuery{})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(boxes, func(id mailbox.ID) bool {
		return id == 0 || !access.Rights(id).Has(acl.Lookup) || !access.Rights(id).Any(acl.Notes)
	}), nil
}

// mayNote is may, and that one of acl.Notes is there.
func (s *annotations) mayNote(ctx context.Context, req asked, box mailbox.ID, need acl.Rights) error {
	if !foreign(req) {
		return nil
	}
	have, err := s.rightsOn(ctx, req, box)
	if err != nil {
		return err
	}
	if !have.Any(acl.Notes) {
		need |= acl.Read
	}
	return check(have, need)
}

// SetAnnotations writes entries of a mailbox.
func (s *annotations) SetAnnotations(ctx context.Context, req *storev1.SetAnnotationsRequest) (*storev1.SetAnnotationsResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	if n := len(req.GetChanges()); n > maxAnnotationNames {
		return nil, invalid("%d entries, more than %d", n, maxAnnotationNames)
	}
	need := acl.Lookup
	entries := make([]index.Annotation, 0, len(req.GetChanges()))
	for _, c := range req.GetChanges() {
		name, err := metadata.Name(c.GetName(), false)
		if err != nil {
			return nil, invalid("%v", err)
		}
		if len(c.GetValue()) > index.MaxAnnotation {
			return nil, status.Errorf(codes.OutOfRange, "value of %d octets, more than %d", len(c.GetValue()), index.MaxAnnotation)
		}
		e := index.Annotation{Name: name}
		if !c.GetRemove() {
			e.Value = append([]byte{}, c.GetValue()...)
		}
		if metadata.Below(name, metadata.Private) {
			e.Reader = reader(req)
		} else {
			// Stricter than the RFC is: a note that all readers see is not for those who may only read.
			need |= acl.Write
		}
		entries = append(entries, e)
	}
	box := mailbox.ID(req.GetMailbox())
	if err := s.mayNote(ctx, req, box, need); err != nil {
		return nil, err
	}
	err = s.deps.Annotations.SetAnnotations(ctx, a, box, entries)
	if errors.Is(err, index.ErrAnnotations) {
		return nil, status.Error(codes.ResourceExhausted, err.Error())
	}
	if err != nil {
		return nil, toStatus(err)
	}
	// Which entries changed is no part of the account's MODSEQ; 0 stands for the account itself.
	s.changed(a, 0, box)
	return &storev1.SetAnnotationsResponse{}, nil
}
