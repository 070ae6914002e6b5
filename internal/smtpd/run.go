package smtpd

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// Run serves the sockets, which it closes, until ctx ends or one of them fails, and then drains for as long as given:
// see Shutdown. A drain that ran out of time is no error: the peers will come again.
func (s *Server) Run(ctx context.Context, sockets []front.Socket, drain time.Duration) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range sockets {
		group.Go(func() error { return s.Serve(l.Listener, l.ImplicitTLS) })
	}
	group.Go(func() error {
		<-ctx.Done()
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		if err := s.Shutdown(limit); err != nil {
			s.log.LogAttrs(limit, slog.LevelWarn, "cut off connections", obs.Error(err))
		}
		return nil
	})
	return group.Wait()
}
