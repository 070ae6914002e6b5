package store

import (
	"context"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/rpc"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// queueServer serves storev1.Queue, the operator's side of the ledger.
type queueServer struct {
	storev1.UnimplementedQueueServer
	ledger ledger.Operator
	audit  func(ctx context.Context, req *storev1.AuditRequest) (*storev1.AuditResponse, error)
	// acted tells the workers that there may be work at once.
	acted func()
}

func (s *queueServer) List(req *storev1.QueueListRequest, out grpc.ServerStreamingServer[storev1.QueueListResponse]) error {
	return ledgerError(s.ledger.List(out.Context(), req, func(page []*storev1.LedgerEntry) error {
		for len(page) > 0 {
			n := rpc.Fits(page, maxAnswer)
			if err := out.Send(&storev1.QueueListResponse{Entries: page[:n]}); err != nil {
				return err
			}
			page = page[n:]
		}
		return nil
	}))
}

func (s *queueServer) Act(ctx context.Context, req *storev1.ActRequest) (*storev1.ActResponse, error) {
	n, err := s.ledger.Act(ctx, req)
	if err != nil {
		return nil, ledgerError(err)
	}
	if n > 0 {
		s.acted()
	}
	return &storev1.ActResponse{Recipients: n}, nil
}

func (s *queueServer) Audit(ctx context.Context, req *storev1.AuditRequest) (*storev1.AuditResponse, error) {
	resp, err := s.audit(ctx, req)
	if err != nil {
		return nil, ledgerError(err)
	}
	return resp, nil
}
