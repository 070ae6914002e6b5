package imap

import (
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// subscribe adds a name to those the client shows (RFC 9051 §6.3.7).
func (s *session) subscribe(l *wire.Lexer) (reply, error) { return s.setSubscribed(l, true) }

// unsubscribe takes it out (RFC 9051 §6.3.8).
func (s *session) unsubscribe(l *wire.Lexer) (reply, error) { return s.setSubscribed(l, false) }

func (s *session) setSubscribed(l *wire.Lexer, on bool) (reply, error) {
	l.Space()
	name := s.newName(l)
	if l.End(); l.Err() != nil {
		return reply{}, l.Err()
	}
	if on {
		if r := checkName(name); r.status != "" {
			return r, nil
		}
	}
	ctx, cancel := s.call()
	defer cancel()
	_, err := s.svc.deps.Mailboxes.Subscribe(ctx, &storev1.SubscribeRequest{Account: uint64(s.account), Actor: uint64(s.account), Name: s.svc.storedName(name), Subscribed: on})
	if err == nil && s.following != nil {
		s.following.subscribed(name, on)
	}
	return reply{}, err
}
