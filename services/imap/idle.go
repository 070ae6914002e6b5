package imap

import (
	"strings"

	"github.com/mailfarm/mailfarm/internal/presence"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// idleCommand tells changes at once until the client says DONE (RFC 9051 §6.3.13).
//
// While it waits, the session holds no buffers and not its lock: a push takes the lock, tells, and lets go of it.
func (s *session) idleCommand(l *wire.Lexer) (reply, error) {
	l.End()
	if l.Err() != nil {
		return reply{}, l.Err()
	}
	s.out.Str("+ idling\r\n")
	s.inIdle = true
	s.idle.Store(true)
	defer func() {
		s.idle.Store(false)
		s.inIdle = false
	}()
	if s.sel != nil && s.wantsSelected() {
		// What changed before notices count.
		if err := s.refresh(); err != nil {
			return reply{}, err
		}
		if err := s.tell(false); err != nil {
			return reply{}, err
		}
	}
	if s.out.Flush() != nil {
		return reply{}, nil
	}
	s.wakeIfDue()
	s.svc.metrics.idle.Inc()
	defer s.svc.metrics.idle.Dec()
	s.card.Change(func(c *presence.State) { c.Idle = true })
	defer s.card.Change(func(c *presence.State) { c.Idle = false })
	defer s.keepAlive()()
	line, err := s.awaitDone()
	switch {
	case s.over:
		return reply{silent: true}, nil
	case err != nil:
		return reply{silent: true}, s.lost(err)
	case !strings.EqualFold(line, "DONE"):
		return bad("expected DONE"), nil
	}
	return reply{}, nil
}

// awaitDone waits for a line without the lock.
func (s *session) awaitDone() (string, error) {
	s.idling = true
	s.waiting.Store(true)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.idling = false
		s.waiting.Store(false)
	}()
	if err := s.in.Wait(); err != nil {
		return "", err
	}
	line, err := s.in.Command(nil)
	return string(line), err
}

// lost keeps the error of a read within a command for the end of the session.
func (s *session) lost(err error) error {
	switch err {
	case wire.ErrTooLong, wire.ErrRefused:
		return bad("expected DONE")
	}
	s.readErr = err
	return err
}
