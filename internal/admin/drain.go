package admin

import (
	"maps"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

// drainLook is how often what is left is looked at.
const drainLook = 100 * time.Millisecond

// Drain ends the process and tells what is left of its dialogues, each time that changes.
func (s *Service) Drain(_ *adminv1.DrainRequest, stream grpc.ServerStreamingServer[adminv1.DrainResponse]) error {
	if s.process == nil {
		return status.Error(codes.Unimplemented, "a process is drained by its own operator's door")
	}
	s.process.Drain()
	look := time.NewTicker(drainLook)
	defer look.Stop()
	var told map[string]uint32
	for {
		left := map[string]uint32{}
		for role, n := range s.process.Sessions() {
			left[role] = uint32(n)
		}
		if told == nil || !maps.Equal(told, left) {
			if err := stream.Send(&adminv1.DrainResponse{Sessions: left}); err != nil {
				return err
			}
			told = left
		}
		select {
		case <-look.C:
		case <-s.process.Drained():
			return stream.Send(&adminv1.DrainResponse{Sessions: left, Drained: true})
		case <-stream.Context().Done():
			return nil
		}
	}
}
