package imap

import (
	"runtime/debug"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// notify tells the session that its mailbox may have changed: at once where it idles, else with its next command. It does
// not block. The session is registered with the hub, so its own goroutine still runs.
func (s *session) notify() { s.notifyOf(anything) }

// notifyOf is notify of a change whose MODSEQ is known.
func (s *session) notifyOf(seq uint64) {
	s.dirty.raise(seq)
	s.wake()
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
	if !s.idling {
		return
	}
	if s.sel != nil && s.dirty.Load() && s.wantsSelected() {
		// With selected-delayed, numbers change during commands only (RFC 5465 §6.2); IDLE is one.
		numbered := !s.inIdle && s.following != nil && s.following.selected.filter == filterSelectedDelayed
		if err := s.tell(numbered); err != nil {
			s.untagged("BYE " + s.replyFor(err).text)
			s.over = true
		}
	}
	if s.following != nil && !s.over {
		s.following.tell()
	}
	if s.out.Buffered() > 0 {
		s.svc.metrics.pushes.Inc()
	}
	if s.out.Flush() != nil || s.over {
		s.sever()
	}
}
