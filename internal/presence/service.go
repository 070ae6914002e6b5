package presence

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/obs"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

const (
	// quiet is how long nobody must have answered for a question to be over, and askTime bounds it all.
	quiet   = time.Second
	askTime = 10 * time.Second
	// mostEnded bounds an answer that tells who was ended.
	mostEnded = 10_000
)

// Asker is the bus for who asks.
type Asker interface {
	AskEach(ctx context.Context, subject string, question []byte, quiet time.Duration, each func(answer []byte) error) error
	Notify(subject string, payload []byte) error
}

// Service is adminv1.Sessions: the operator's side.
type Service struct {
	adminv1.UnimplementedSessionsServer
	bus   Asker
	alone *Desk // where this is the only process: nobody else is waited for
	log   *slog.Logger
}

// New makes the service. alone is the desk of a process that is all of the farm, and else nil.
func New(b Asker, alone *Desk, log *slog.Logger) *Service {
	return &Service{bus: b, alone: alone, log: log}
}

// Register offers it on r.
func (s *Service) Register(r grpc.ServiceRegistrar) { adminv1.RegisterSessionsServer(r, s) }

// List streams sessions as the processes tell of them.
func (s *Service) List(req *adminv1.SessionsListRequest, stream grpc.ServerStreamingServer[adminv1.SessionsListResponse]) error {
	q := &adminv1.SessionsQuestion{}
	if req.Account != 0 {
		q.Accounts = []uint64{req.Account}
	}
	return s.ask(stream.Context(), q, stream.Send)
}

// End ends sessions of an account.
func (s *Service) End(ctx context.Context, req *adminv1.SessionsEndRequest) (*adminv1.SessionsEndResponse, error) {
	if req.Account == 0 {
		return nil, status.Error(codes.InvalidArgument, "sessions of which account?")
	}
	if err := check(req.Text); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	resp := &adminv1.SessionsEndResponse{}
	answered := map[string]bool{}
	q := &adminv1.SessionsQuestion{
		Accounts: []uint64{req.Account}, Session: req.Session, End: adminv1.EndReason_END_REASON_OPERATOR, Text: req.Text,
	}
	err := s.ask(ctx, q, func(r *adminv1.SessionsListResponse) error {
		answered[r.Process] = true
		resp.Ended = append(resp.Ended, r.Sessions[:min(len(r.Sessions), mostEnded-len(resp.Ended))]...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	resp.Processes = uint32(len(answered))
	s.log.InfoContext(ctx, "sessions ended by an operator", "account", req.Account, obs.Count(len(resp.Ended)), obs.Reason(req.Text))
	return resp, nil
}

// ask puts a question to all processes.
func (s *Service) ask(ctx context.Context, q *adminv1.SessionsQuestion, each func(*adminv1.SessionsListResponse) error) error {
	if s.alone != nil {
		for _, r := range s.alone.tell(q) {
			if err := each(r); err != nil {
				return err
			}
		}
		return nil
	}
	question, err := proto.Marshal(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	failed := false
	err = s.bus.AskEach(ctx, bus.SessionsAsk, question, quiet, func(answer []byte) error {
		r := &adminv1.SessionsListResponse{}
		if proto.Unmarshal(answer, r) != nil {
			return nil
		}
		err := each(r)
		failed = err != nil
		return err
	})
	if err != nil && !failed {
		err = status.Error(codes.Unavailable, err.Error())
	}
	return err
}

// End tells all fronts to end the sessions of accounts, and waits for nobody.
func End(b Asker, accounts []uint64, reason adminv1.EndReason) error {
	if len(accounts) == 0 {
		return nil
	}
	question, err := proto.Marshal(&adminv1.SessionsQuestion{Accounts: accounts, End: reason})
	if err != nil {
		return err
	}
	return b.Notify(bus.SessionsAsk, question)
}
