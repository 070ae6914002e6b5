package admin

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
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
	History(ctx context.Context, since, until time.Time, each func(payload []byte) bool) error
	ListDead(ctx context.Context, limit int) ([]bus.DeadLetter, error)
	RetryDead(ctx context.Context, seq, key uint64) error
	Ask(ctx context.Context, subject string, quiet time.Duration) ([][]byte, error)
	Answer(subject string, f func() []byte) (stop func(), err error)
	Lags(ctx context.Context) ([]bus.Lag, error)
}

// Service is adminv1.Admin.
type Service struct {
	adminv1.UnimplementedAdminServer
	bus     Bus
	version string
	roles   []string
	started time.Time
	process Process // nil: of no concern here
}

// Process is the process that answers, as far as operators may end it.
type Process interface {
	// Drain tells it to end; Drained is closed when it has no clients and no work any more; Sessions are those it has.
	Drain()
	Drained() <-chan struct{}
	Sessions() map[string]int
}

// New makes the service of a process that runs roles.
func New(b Bus, version string, roles []string, started time.Time) *Service {
	return &Service{bus: b, version: version, roles: roles, started: started}
}

// With is the service for who may end the process too.
func (s *Service) With(p Process) *Service {
	return &Service{bus: s.bus, version: s.version, roles: s.roles, started: s.started, process: p}
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
	var lost atomic.Uint64
	stop, err := s.bus.Listen(subject, func(_ string, payload []byte) {
		matching := slices.DeleteFunc(read(payload), func(ev *mailv1.TraceEvent) bool { return !matches(req, ev) })
		if len(matching) == 0 {
			return
		}
		select {
		case events <- matching:
		default:
			lost.Add(uint64(len(matching)))
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
			if err := stream.Send(&adminv1.FollowResponse{Events: matching, Lost: lost.Swap(0)}); err != nil {
				return err
			}
		}
	}
}

// source is where the events come from: one message's has a subject of its own and one stage's, too, so that it costs the
// farm nothing else.
func source(req *adminv1.FollowRequest) (subject string, read func([]byte) []*mailv1.TraceEvent, err error) {
	if len(req.QueueId) == 0 {
		subject = bus.TraceAll
		if isWord(req.Stage) {
			subject = bus.Trace(req.Stage)
		}
		return subject, readBatch, nil
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

// isWord tells whether a stage's name may stand in a subject.
func isWord(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz-") == ""
}

func readBatch(payload []byte) []*mailv1.TraceEvent {
	batch := &mailv1.TraceBatch{}
	if proto.Unmarshal(payload, batch) != nil {
		return nil
	}
	return batch.Events
}

// matches tells whether an event fulfils all conditions that were given.
func matches(req *adminv1.FollowRequest, ev *mailv1.TraceEvent) bool {
	same := func(want, got string) bool { return want == "" || strings.EqualFold(want, got) }
	return (len(req.QueueId) == 0 || bytes.Equal(req.QueueId, ev.QueueId)) &&
		sameAddress(req.ForwardPath, ev.ForwardPath) && sameAddress(req.ReversePath, ev.ReversePath) && same(req.MessageId, ev.MessageId) &&
		same(req.Stage, ev.Stage) && same(req.Role, ev.Role) && same(req.Host, ev.Host) && same(req.Event, ev.Event) &&
		sameClient(req.Client, ev.Client) &&
		(req.Domain == "" || sameAddress("@"+req.Domain, ev.ReversePath) || sameAddress("@"+req.Domain, ev.ForwardPath))
}

// sameAddress compares in any case; "@domain" asks for all of a domain, "<>" for the null reverse-path.
func sameAddress(want, got string) bool {
	switch {
	case want == "":
		return true
	case want == "<>":
		return got == ""
	case strings.HasPrefix(want, "@"):
		at := strings.LastIndexByte(got, '@')
		return at >= 0 && strings.EqualFold(got[at:], want)
	}
	return strings.EqualFold(want, got)
}

// sameClient compares IP addresses; a prefix ("192.0.2.0/24") asks for all within.
func sameClient(want, got string) bool {
	if want == "" || want == got {
		return true
	}
	ip, err := netip.ParseAddr(got)
	if err != nil {
		return false
	}
	if p, err := netip.ParsePrefix(want); err == nil {
		return p.Contains(ip.Unmap())
	}
	asked, err := netip.ParseAddr(want)
	return err == nil && asked.Unmap() == ip.Unmap()
}

const (
	// journeyTime and journeyEvents bound what is read and told of one message's history.
	journeyTime   = 5 * time.Second
	journeyEvents = 10_000
)

// Journey tells what the history has of one message.
func (s *Service) Journey(ctx context.Context, req *adminv1.JourneyRequest) (*adminv1.JourneyResponse, error) {
	if _, err := envelope.QueueIDFrom(req.QueueId); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	resp := &adminv1.JourneyResponse{}
	until := time.Now()
	if req.UntilNs != 0 {
		until = time.Unix(0, req.UntilNs)
	}
	read, cancel := context.WithTimeout(ctx, journeyTime)
	defer cancel()
	err := s.bus.History(read, time.Unix(0, req.SinceNs), until, func(payload []byte) bool {
		// Most batches have nothing of it: the id is looked for before anything is decoded.
		if !bytes.Contains(payload, req.QueueId) {
			return read.Err() == nil
		}
		for _, ev := range readBatch(payload) {
			if bytes.Equal(ev.QueueId, req.QueueId) {
				resp.Events = append(resp.Events, ev)
			}
		}
		return read.Err() == nil && len(resp.Events) < journeyEvents
	})
	resp.Cut = read.Err() != nil || len(resp.Events) >= journeyEvents
	if err != nil && !resp.Cut {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	slices.SortStableFunc(resp.Events, func(a, b *mailv1.TraceEvent) int { return cmp.Compare(a.TimeNs, b.TimeNs) })
	return resp, nil
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
