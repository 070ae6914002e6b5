package imap

// await waits for a command. Who has asked NOTIFY for it is told what changes meanwhile, as if it idled.
func (s *session) await() error {
	if s.following == nil || s.in.Ready() {
		return s.in.Wait()
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	s.mu.Lock()
	s.idling = true
	s.mu.Unlock()
	s.idle.Store(true)
	s.wakeIfDue()
	err := s.in.Wait()
	s.idle.Store(false)
	s.mu.Lock()
	s.idling = false
	s.mu.Unlock()
	return err
}

// wake tells an idle session that there is something to tell. It does not block.
func (s *session) wake() {
	if s.idle.Load() && s.pushing.CompareAndSwap(false, true) {
		s.svc.pushes.Go(s.push)
	}
}

// wakeIfDue is for what came before the session was idle.
func (s *session) wakeIfDue() {
	if s.dirty.Load() && s.sel != nil && s.wantsSelected() || s.following != nil && s.following.due() {
		s.wake()
	}
}
