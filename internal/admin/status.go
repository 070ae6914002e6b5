package admin

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

const (
	// statusTime bounds a Status; statusQuiet is how long nobody must have answered for it to end: longer than readiness
	// takes that has to wait for a part.
	statusTime  = 6 * time.Second
	statusQuiet = 2500 * time.Millisecond
)

// Status asks all processes how they are.
func (s *Service) Status(ctx context.Context, _ *adminv1.StatusRequest) (*adminv1.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	answers, err := s.bus.Ask(ctx, bus.StatusAsk, statusQuiet)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	resp := &adminv1.StatusResponse{}
	for _, a := range answers {
		p := &adminv1.Process{}
		if proto.Unmarshal(a, p) == nil {
			resp.Processes = append(resp.Processes, p)
		}
	}
	slices.SortFunc(resp.Processes, func(a, b *adminv1.Process) int {
		return strings.Compare(strings.Join(a.Roles, " ")+"\x00"+a.Name, strings.Join(b.Roles, " ")+"\x00"+b.Name)
	})
	lags, err := s.bus.Lags(ctx)
	if err != nil {
		resp.BusError = err.Error()
	}
	for _, l := range lags {
		resp.Lags = append(resp.Lags, &adminv1.Lag{Subject: string(l.Subject), Partition: uint32(l.Partition), Waiting: l.Waiting, InHand: l.InHand})
	}
	return resp, nil
}

// Answer tells whoever asks on the bus what p gives, until ctx ends.
func (s *Service) Answer(ctx context.Context, p func(context.Context) *adminv1.Process) error {
	stop, err := s.bus.Answer(bus.StatusAsk, func() []byte {
		answer, err := proto.Marshal(p(ctx))
		if err != nil {
			return nil
		}
		return answer
	})
	if err != nil {
		return err
	}
	defer stop()
	<-ctx.Done()
	return nil
}
