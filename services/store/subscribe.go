package store

import (
	"context"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Subscribe changes the list of subscriptions (RFC 9051 §6.3.7, §6.3.8).
func (s *mailboxes) Subscribe(ctx context.Context, req *storev1.SubscribeRequest) (*storev1.SubscribeResponse, error) {
	a, err := account(req.GetAccount())
	if err != nil {
		return nil, err
	}
	if foreign(req) {
		return nil, invalid("subscriptions are the actor's own")
	}
	name, err := boxName(req.GetName())
	if err != nil {
		return nil, err
	}
	seq, err := s.deps.Mailboxes.Subscribe(ctx, a, name, req.GetSubscribed())
	if err != nil {
		return nil, toStatus(err)
	}
	s.changed(a, seq)
	return &storev1.SubscribeResponse{}, nil
}
