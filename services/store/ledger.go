package store

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/ledger"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// maxBatch is how many messages, hints or reports one call may carry.
const maxBatch = 4096

// ledgerServer serves storev1.Ledger.
type ledgerServer struct {
	storev1.UnimplementedLedgerServer
	ledger ledger.Hot
	// wake tells the outbox worker of new children.
	wake func()
}

func (s *ledgerServer) Record(ctx context.Context, req *storev1.RecordRequest) (*storev1.RecordResponse, error) {
	if err := checkBatch(len(req.Messages)); err != nil {
		return nil, err
	}
	fault.Point("store.record-before")
	results, err := s.ledger.Record(ctx, req.Messages)
	if err != nil {
		return nil, ledgerError(err)
	}
	fault.Point("store.record-after")
	for _, m := range req.Messages {
		if len(m.Children) > 0 {
			s.wake()
			break
		}
	}
	return &storev1.RecordResponse{Results: results}, nil
}

func (s *ledgerServer) Load(ctx context.Context, req *storev1.LoadRequest) (*storev1.LoadResponse, error) {
	if err := checkBatch(len(req.QueueIds)); err != nil {
		return nil, err
	}
	entries, err := s.ledger.Load(ctx, req.QueueIds)
	if err != nil {
		return nil, ledgerError(err)
	}
	return &storev1.LoadResponse{Entries: entries}, nil
}

func (s *ledgerServer) Claim(ctx context.Context, req *storev1.ClaimRequest) (*storev1.ClaimResponse, error) {
	if err := checkBatch(len(req.Work)); err != nil {
		return nil, err
	}
	claims, err := s.ledger.Claim(ctx, req)
	if err != nil {
		return nil, ledgerError(err)
	}
	fault.Point("store.claim-after")
	return &storev1.ClaimResponse{Claims: claims}, nil
}

func (s *ledgerServer) Report(ctx context.Context, req *storev1.ReportRequest) (*storev1.ReportResponse, error) {
	if err := checkBatch(len(req.Reports)); err != nil {
		return nil, err
	}
	fault.Point("store.report-before")
	results, err := s.ledger.Report(ctx, req.Reports)
	if err != nil {
		return nil, ledgerError(err)
	}
	fault.Point("store.report-after")
	for _, r := range req.Reports {
		if len(r.Children) > 0 {
			s.wake()
			break
		}
	}
	return &storev1.ReportResponse{Results: results}, nil
}

func checkBatch(n int) error {
	if n > maxBatch {
		return status.Errorf(codes.InvalidArgument, "batch of %d, at most %d", n, maxBatch)
	}
	return nil
}

// ledgerError gives errors that callers branch on their code.
func ledgerError(err error) error {
	switch {
	case errors.Is(err, ledger.ErrInvalid):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, ledger.ErrNotFound):
		return status.Error(codes.NotFound, err.Error())
	}
	return err
}
