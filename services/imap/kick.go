package imap

import (
	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/internal/presence"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

// Card is what operators are shown of the session.
func (s *session) Card() *presence.Card { return &s.card }

// Kick ends the session from outside, as Cut does, and tells the client why (RFC 9051 §7.1.5).
func (s *session) Kick(f presence.Farewell) {
	if s.farewell.CompareAndSwap(nil, &f) {
		s.svc.log.Info("session ended from outside", obs.ConnID(s.id), obs.Reason(f.Words()))
		s.Cut()
	}
}

// goodbye is the text of BYE, with the response code that goes with the reason (RFC 5530 §3).
func goodbye(f *presence.Farewell) string {
	switch f.Reason {
	case adminv1.EndReason_END_REASON_PASSWORD:
		return "[EXPIRED] " + f.Words()
	case adminv1.EndReason_END_REASON_REMOVED:
		return "[CONTACTADMIN] " + f.Words()
	}
	return f.Words()
}

// Clients are the sessions that there are now, for operators.
func (s *Service) Clients() []presence.Session {
	all := s.front.All()
	clients := make([]presence.Session, 0, len(all))
	for _, x := range all {
		if c, ok := x.(presence.Session); ok {
			clients = append(clients, c)
		}
	}
	return clients
}
