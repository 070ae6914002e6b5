package trace

import (
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// As signs the events of one of a process's roles.
func As(t obs.Tracer, role string) obs.Tracer { return signer{t, role} }

type signer struct {
	obs.Tracer
	role string
}

// Emit passes an event on with its role.
func (s signer) Emit(ev *mailv1.TraceEvent) {
	ev.Role = s.role
	s.Tracer.Emit(ev)
}
