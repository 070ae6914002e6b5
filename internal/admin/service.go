package admin

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
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
	// followRoom is how many parcels of events may wait for a slow follower; what finds no room is not shown.
	followRoom = 256
	// deadLimit is how many dead letters are listed at most.
	deadLimit = 10_000
	// deadBytes bounds what a list of dead letters holds, octets: the payload of those beyond is left out.
	deadBytes = 8 << 20
)

// Follow streams events live until the caller hangs up.
func (s *Service) Follow(req *adminv1.FollowRequest, stream grpc.ServerStreamingServer[adminv1.FollowResponse]) error {
	subject, read, err := source(req)
	if err != nil {
		return err
	}
	events := make(chan []*mailv1.TraceEvent, followRoom)
	stop, err := s.bus.Listen(subject, func(_ string, payload []byte) {
		matching := slices.DeleteFunc(read(payload), func(ev *mailv1.TraceEvent) bool { return !matches(req, ev) })
		if len(matching) == 0 {
			return
		}
		select {
		case events <- matching:
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
		case matching := <-events:
			if err := stream.Send(&adminv1.FollowResponse{Events: matching}); err != nil {
				return err
			}
		}
	}
}

// source is where the events come from: one message's has a subject of its own, so that it costs the farm nothing else.
func source(req *adminv1.FollowRequest) (subject string, read func([]byte) []*mailv1.TraceEvent, err error) {
	if len(req.QueueId) == 0 {
		return bus.TraceAll, func(payload []byte) []*mailv1.TraceEvent {
			batch := &mailv1.TraceBatch{}
			if proto.Unmarshal(payload, batch) != nil {
				return nil
			}
			return batch.Events
		}, nil
	}
	id, err := envelope.QueueIDFrom(req.QueueId)
	if err != nil {
		return "", nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return bus.Follow(id.String()), func(payload []byte) []*mailv1.TraceEvent {
		ev := &mailv1.TraceEvent{}
		if proto.Unmarshal(payload, ev) != nil {
			return nil
		}
		return []*mailv1.TraceEvent{ev}
	}, nil
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
	room := deadBytes
	for _, d := range dead {
		x := &adminv1.Dead{Sequence: d.Sequence, Letter: d.Letter, QueueId: queueIDOf(d.Letter.Payload)}
		if room -= len(d.Letter.Payload); room < 0 {
			x.Letter = &mailv1.DeadLetter{Subject: d.Letter.Subject, Reason: d.Letter.Reason, TimeNs: d.Letter.TimeNs, Deliveries: d.Letter.Deliveries}
		}
		resp.Dead = append(resp.Dead, x)
	}
	return resp, nil
}

// queueIDOf finds the queue id in a payload: field 1 of every kind of work. Poison may be anything.
func queueIDOf(payload []byte) []byte {
	for len(payload) > 0 {
		number, kind, n := protowire.ConsumeTag(payload)
		if n < 0 {
			return nil
		}
		payload = payload[n:]
		if number != 1 {
			if n = protowire.ConsumeFieldValue(number, kind, payload); n < 0 {
				return nil
			}
			payload = payload[n:]
			continue
		}
		if kind != protowire.BytesType {
			return nil
		}
		id, n := protowire.ConsumeBytes(payload)
		if n < 0 || len(id) != len(envelope.QueueID{}) {
			return nil
		}
		return id
	}
	return nil
}

// RetryDead puts dead letters back to work. With all, one that another has retried meanwhile is passed over.
func (s *Service) RetryDead(ctx context.Context, req *adminv1.RetryDeadRequest) (*adminv1.RetryDeadResponse, error) {
	sequences := req.Sequences
	if req.All {
		sequences = nil
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
		err := s.bus.RetryDead(ctx, seq, seq)
		switch {
		case err == nil:
			resp.Retried++
		case errors.Is(err, jetstream.ErrMsgNotFound) && req.All:
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return nil, status.Errorf(codes.NotFound, "there is no dead letter %d (%d were retried)", seq, resp.Retried)
		default:
			return nil, status.Errorf(codes.Unavailable, "retry dead letter %d (%d were retried): %v", seq, resp.Retried, err)
		}
	}
	return resp, nil
}
