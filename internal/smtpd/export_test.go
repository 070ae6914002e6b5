package smtpd

import "context"

// Shutdown drains as Run does at its end, of connections that came by ServeConn too: those that are left when ctx ends are
// cut, and ctx's error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.front.Drain()
	stop := context.AfterFunc(ctx, s.front.Close)
	s.front.Wait()
	if !stop() {
		return context.Cause(ctx)
	}
	return nil
}
