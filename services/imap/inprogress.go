package imap

import (
	"context"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/mailfarm/mailfarm/internal/obs"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// progressEvery is how often a command that takes long says how far it is (RFC 9585 §4 asks for no less than 10 s).
const progressEvery = 10 * time.Second

// workingFrom is of how many messages a call of the store is looked after: less takes no time worth a word.
const workingFrom = 1000

// working makes one call of another role about so many messages, and says now and then that it is still being worked on; how
// far, nobody knows (RFC 9585 §4).
func (s *session) working(messages uint64, call func(context.Context) error) error {
	ctx, cancel := s.call()
	defer cancel()
	if messages < workingFrom {
		return call(ctx)
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				s.log.Error("panicked", panicAttr(p), obs.Stack(debug.Stack()))
				done <- no("SERVERBUG", "internal error")
			}
		}()
		done <- call(ctx)
	}()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
			b := wire.AppendString(append(s.out.Take(), "* OK [INPROGRESS ("...), string(s.tag), false)
			s.out.Give(append(b, " NIL NIL)] still working\r\n"...))
			s.out.Flush()
		}
	}
}

// progress tells a client that its command is still being worked on.
type progress struct {
	s    *session
	goal uint32
	next time.Time // by the role's clock
}

// newProgress begins to count towards goal.
func (s *session) newProgress(goal uint32) *progress {
	return &progress{s: s, goal: goal, next: s.svc.deps.Now().Add(progressEvery)}
}

// at tells that done of the goal are behind us, if it is time to.
func (p *progress) at(done uint32) {
	now := p.s.svc.deps.Now()
	if now.Before(p.next) || done >= p.goal {
		return
	}
	p.next = now.Add(progressEvery)
	b := append(p.s.out.Take(), "* OK [INPROGRESS ("...)
	b = wire.AppendString(b, p.s.tag, false)
	b = strconv.AppendUint(append(b, ' '), uint64(done), 10)
	b = strconv.AppendUint(append(b, ' '), uint64(p.goal), 10)
	p.s.out.Give(append(b, ")] still working\r\n"...))
	p.s.out.Flush()
}
