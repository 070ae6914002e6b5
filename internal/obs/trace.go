package obs

import mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"

// Tracer takes trace events. Emit never blocks and never fails: an event that finds no room is dropped and counted.
type Tracer interface {
	Emit(ev *mailv1.TraceEvent)
}

// NoTrace drops everything.
type NoTrace struct{}

// Emit does nothing.
func (NoTrace) Emit(*mailv1.TraceEvent) {}
