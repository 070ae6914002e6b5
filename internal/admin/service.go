package admin

import (
	"bytes"
	"context"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// Bus is what the service needs of the bus.
type Bus interface {
	Listen(subject string, f func(subject string, payload []byte)) (stop func(), err error)
	ListDead(ctx context.Context, limit int) ([]bus.DeadLetter, error)
	RetryDead(ctx context.Context, seq, key uint64) error
}

// Service is adminv1.Admin.
type Service struct {
	adminv1.UnimplementedAdminServer
	bus     Bus
	version string
	roles   []string
	started time.Time
}

// New makes the service of a process that runs roles.
func New(b Bus, version string, roles []string, started time.Time) *Service {
	return &Service{bus: b, version: version, roles: roles, started: started}
}

// Register puts the service on a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) { adminv1.RegisterAdminServer(r, s) }

// Version tells what runs here.
func (s *Service) Version(context.Context, *adminv1.VersionRequest) (*adminv1.VersionResponse, error) {
	return &adminv1.VersionResponse{Version: s.version, Go: runtime.Version(), Roles: s.roles, StartedNs: s.started.UnixNano()}, nil
}

const (
	// followRoom is how many batches may wait for a slow follower; what finds no room is not shown.
	followRoom = 1024
	// deadLimit is how many dead letters are listed at most.
	deadLimit = 10_000
)

// Follow streams events live until the caller hangs up.
func (s *Service) Follow(req *adminv1.FollowRequest, stream grpc.ServerStreamingServer[adminv1.FollowResponse]) error {
	events := make(chan *mailv1.TraceBatch, followRoom)
	stop, err := s.bus.Listen(bus.TraceAll, func(_ string, payload []byte) {
		batch := &mailv1.TraceBatch{}
		if proto.Unmarshal(payload, batch) != nil {
			return
		}
		select {
		case events <- batch:
		default:
		}
	})
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	defer stop()
	if err := stream.SendHeader(nil); err != nil { // tells the caller that from here on nothing is missed
		return err
	}
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case batch := <-events:
			resp := &adminv1.FollowResponse{}
			for _, ev := range batch.Events {
				if matches(req, ev) {
					resp.Events = append(resp.Events, ev)
				}
			}
			if len(resp.Events) == 0 {
				continue
			}
			if err := stream.Send(resp); err != nil {
				return err
			}
		}
	}
}

// matches tells whether an event fulfils all conditions that were given.
func matches(req *adminv1.FollowRequest, ev *mailv1.TraceEvent) bool {
	same := func(want, got string) bool { return want == "" || strings.EqualFold(want, got) }
	return (len(req.QueueId) == 0 || bytes.Equal(req.QueueId, ev.QueueId)) &&
		same(req.ForwardPath, ev.ForwardPath) && same(req.ReversePath, ev.ReversePath) && same(req.MessageId, ev.MessageId)
}

// ListDead tells the dead letters.
func (s *Service) ListDead(ctx context.Context, req *adminv1.ListDeadRequest) (*adminv1.ListDeadResponse, error) {
	limit := int(req.Limit)
	if limit <= 0 || limit > deadLimit {
		limit = deadLimit
	}
	dead, err := s.bus.ListDead(ctx, limit)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	resp := &adminv1.ListDeadResponse{}
	for _, d := range dead {
		resp.Dead = append(resp.Dead, &adminv1.Dead{Sequence: d.Sequence, Letter: d.Letter, QueueId: queueIDOf(d.Letter)})
	}
	return resp, nil
}

// queueIDOf finds the queue id in a payload: field 1 of every kind of work.
func queueIDOf(letter *mailv1.DeadLetter) []byte {
	number, kind, n := protowire.ConsumeTag(letter.Payload)
	if n < 0 || number != 1 || kind != protowire.BytesType {
		return nil
	}
	id, n := protowire.ConsumeBytes(letter.Payload[n:])
	if n < 0 || len(id) != len(envelope.QueueID{}) {
		return nil
	}
	return id
}

// RetryDead puts dead letters back to work.
func (s *Service) RetryDead(ctx context.Context, req *adminv1.RetryDeadRequest) (*adminv1.RetryDeadResponse, error) {
	sequences := req.Sequences
	if req.All {
		dead, err := s.bus.ListDead(ctx, deadLimit)
		if err != nil {
			return nil, status.Error(codes.Unavailable, err.Error())
		}
		for _, d := range dead {
			sequences = append(sequences, d.Sequence)
		}
	}
	resp := &adminv1.RetryDeadResponse{}
	for _, seq := range sequences {
		if err := s.bus.RetryDead(ctx, seq, seq); err != nil {
			return nil, status.Errorf(codes.Unavailable, "retry dead letter %d (%d were retried): %v", seq, resp.Retried, err)
		}
		resp.Retried++
	}
	return resp, nil
}
