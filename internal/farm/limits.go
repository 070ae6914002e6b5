package farm

import (
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/limits"
	"github.com/mailfarm/mailfarm/internal/run"
)

// buildLimits makes what bounds clients over all processes. Every process has it: whichever door an operator knocks at, bans
// are answered there.
func (f *Farm) buildLimits() (*limits.Limits, error) {
	l, err := limits.New(f.cfg.Limits, limits.Deps{
		Bus: f.infra.Bus, Bans: f.infra.Bus.Bucket(bus.Bans), Log: f.log, Metrics: f.infra.Metrics, Now: fault.Now,
	})
	if err != nil {
		return nil, err
	}
	f.operators = append(f.operators, func(r *grpc.Server) { l.Register(r) })
	f.parts.base = append(f.parts.base, run.Part{Name: "limits", Run: l.Run})
	return l, nil
}
