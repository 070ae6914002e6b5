package store

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/fault"
	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/reply"
	"github.com/mailfarm/mailfarm/internal/rpc"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// maxBatch is how many messages, hints or reports one call may carry.
const maxBatch = 4096

// maxAnswer is how much one answer carries at most, octets, unless one message alone is more: half of what a call may.
const maxAnswer = rpc.MaxMessage / 2

// loadPiece is how many messages are read first to answer Load.
const loadPiece = 16

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
	return &storev1.RecordResponse{Results: results[:rpc.Fits(results, maxAnswer)]}, nil
}

func (s *ledgerServer) Load(ctx context.Context, req *storev1.LoadRequest) (*storev1.LoadResponse, error) {
	if err := checkBatch(len(req.QueueIds)); err != nil {
		return nil, err
	}
	entries, err := s.load(ctx, req.QueueIds)
	if err != nil {
		return nil, ledgerError(err)
	}
	return &storev1.LoadResponse{Entries: entries}, nil
}

// load reads the first of messages, as many as one answer may carry, in growing pieces: not much more is read than is told.
func (s *ledgerServer) load(ctx context.Context, ids [][]byte) (entries []*storev1.LedgerEntry, err error) {
	for size, piece := 0, loadPiece; len(entries) < len(ids); piece *= 2 {
		rest := ids[len(entries):]
		more, err := s.ledger.Load(ctx, rest[:min(piece, len(rest))])
		if err != nil {
			return nil, err
		}
		for _, e := range more {
			size += rpc.SizeOf(e)
			if size > maxAnswer && len(entries) > 0 {
				return entries, nil
			}
			entries = append(entries, e)
		}
	}
	return entries, nil
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

// ledgerError gives errors that callers branch on their code, and the verdict 452 4.3.1 where the disk is full.
func ledgerError(err error) error {
	switch {
	case errors.Is(err, ledger.ErrInvalid):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, ledger.ErrNotFound):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, ledger.ErrFull):
		return reply.Transient(452, "4.3.1", "insufficient storage").Because(err)
	}
	return err
}
