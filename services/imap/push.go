package imap

import (
	"runtime/debug"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// notify tells the session that its mailbox may have changed: at once where it idles, else with its next command. It does
// not block. The session is registered with the hub, so its own goroutine still runs.
func (s *session) notify() {
	s.dirty.Store(true)
	if s.idle.Load() && s.pushing.CompareAndSwap(false, true) {
		s.svc.pushes.Go(s.push)
	}
}

// push tells an idle session what changed.
func (s *session) push() {
	defer func() {
		if p := recover(); p != nil {
			s.svc.metrics.panics.Inc()
			s.log.Error("panicked", panicAttr(p), obs.Stack(debug.Stack()))
			s.sever()
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pushing.Store(false)
	if !s.idling || s.sel == nil || !s.dirty.Load() {
		return
	}
	if err := s.tell(false); err != nil {
		s.untagged("BYE " + s.replyFor(err).text)
		s.over = true
	}
	if s.out.Buffered() > 0 {
		s.svc.metrics.pushes.Inc()
	}
	if s.out.Flush() != nil || s.over {
		s.sever()
	}
}
