package filter

import (
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
)

// Check judges one message while it arrives.
func (s *Service) Check(stream grpc.ClientStreamingServer[filterv1.CheckRequest, filterv1.CheckResponse]) error {
	var req filterv1.CheckRequest
	if err := stream.RecvMsg(&req); err != nil {
		if errors.Is(err, io.EOF) {
			return status.Error(codes.InvalidArgument, "check without a start")
		}
		return err
	}
	start := req.GetStart()
	if start == nil {
		return status.Error(codes.InvalidArgument, "check does not begin with a start")
	}
	e := s.begin(stream.Context(), start.Envelope, start.Trusted)
	defer e.end()
	for {
		// Fields are made anew by each message, so that what the exam keeps of them stays.
		err := stream.RecvMsg(&req)
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&filterv1.CheckResponse{Verdict: e.finish(stageDialogue)})
		}
		if err != nil {
			return err
		}
		data, ok := req.Part.(*filterv1.CheckRequest_Data)
		if !ok {
			return status.Error(codes.InvalidArgument, "check goes on with something else than data")
		}
		e.write(data.Data)
	}
}
