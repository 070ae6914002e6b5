package store

import (
	"context"
	"crypto/rand"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const (
	// keyEntry is the annotation that a mailbox's key is in: METADATA has no such name, so nobody reads or writes it there.
	keyEntry = "urlauth.key"
	// keyOctets is the length of a key.
	keyOctets = 32
)

// mailboxKeys serves storev1.MailboxKeys.
type mailboxKeys struct {
	storev1.UnimplementedMailboxKeysServer
	*Service
}

// GetMailboxKey tells a mailbox's key, and makes it where that is asked for: of two that do so at once both get the same.
func (s *mailboxKeys) GetMailboxKey(ctx context.Context, req *storev1.GetMailboxKeyRequest) (*storev1.GetMailboxKeyResponse, error) {
	a, box, err := accountAndBox(req.GetAccount(), req.GetMailbox())
	if err != nil {
		return nil, err
	}
	key, err := s.key(ctx, a, box)
	if err == nil && key == nil && req.GetMake() {
		key = make([]byte, keyOctets)
		rand.Read(key) // never fails
		if err = s.deps.Annotations.SetAnnotations(ctx, a, box, []index.Annotation{{Reader: a, Name: keyEntry, Value: key, IfAbsent: true}}); err == nil {
			key, err = s.key(ctx, a, box)
		}
	}
	if err != nil {
		return nil, toStatus(err)
	}
	if key == nil {
		return nil, status.Error(codes.NotFound, "mailbox has no key")
	}
	return &storev1.GetMailboxKeyResponse{Key: key}, nil
}

func (s *mailboxKeys) key(ctx context.Context, a mailbox.AccountID, box mailbox.ID) ([]byte, error) {
	list, err := s.deps.Annotations.Annotations(ctx, a, []mailbox.ID{box}, a)
	for _, e := range list {
		if e.Reader == a && e.Name == keyEntry {
			return e.Value, nil
		}
	}
	return nil, err
}

// ResetMailboxKey forgets the key of a mailbox, or of all.
func (s *mailboxKeys) ResetMailboxKey(ctx context.Context, req *storev1.ResetMailboxKeyRequest) (*storev1.ResetMailboxKeyResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	boxes := []mailbox.ID{mailbox.ID(req.GetMailbox())}
	if req.GetMailbox() == 0 {
		list, _, err := s.deps.Mailboxes.List(ctx, a)
		if err != nil {
			return nil, toStatus(err)
		}
		boxes = boxes[:0]
		for i := range list {
			if list[i].ID != 0 {
				boxes = append(boxes, list[i].ID)
			}
		}
	}
	for _, box := range boxes {
		key, err := s.key(ctx, a, box)
		if err == nil && key != nil {
			err = s.deps.Annotations.SetAnnotations(ctx, a, box, []index.Annotation{{Reader: a, Name: keyEntry}})
		}
		if err != nil {
			return nil, toStatus(err)
		}
	}
	return &storev1.ResetMailboxKeyResponse{}, nil
}
