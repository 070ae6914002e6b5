package imap

import (
	"math/rand/v2"
	"time"
)

// keepAlive says something to an idle client from time to time, so that what lies between us does not forget the connection,
// and returns how to end that.
func (s *session) keepAlive() (stop func()) {
	var timer *time.Timer
	timer = time.AfterFunc(s.aliveAfter(), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.idling || s.over {
			return
		}
		s.untagged("OK Still here")
		if s.out.Flush() != nil {
			s.sever()
			return
		}
		timer.Reset(s.aliveAfter())
	})
	return func() { timer.Stop() }
}

// aliveAfter differs from session to session and from time to time: many that began to idle together do not wake together.
func (s *session) aliveAfter() time.Duration {
	most := s.svc.cfg.KeepAlive
	return most - rand.N(most/4+1)
}
