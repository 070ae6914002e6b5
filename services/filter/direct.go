package filter

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/obs"
	filterv1 "github.com/mailfarm/mailfarm/proto/mailfarm/filter/v1"
)

// Direct is a client of s for the same process: the same calls with the same answers, judged on the caller's goroutine.
//
// Over gRPC within the process a message of 4 KiB costs several times what judging it does; every message pays for it. As
// with gRPC the caller either calls CloseAndRecv or cancels the call's context.
func (s *Service) Direct() filterv1.FilterClient { return directClient{s} }

type directClient struct{ s *Service }

// Check begins a call.
func (c directClient) Check(ctx context.Context, _ ...grpc.CallOption) (grpc.ClientStreamingClient[filterv1.CheckRequest, filterv1.CheckResponse], error) {
	d := &directCheck{s: c.s, ctx: ctx}
	d.forget = context.AfterFunc(ctx, d.abandon)
	return d, nil
}

// directCheck is a call that Direct's client made.
type directCheck struct {
	s      *Service
	ctx    context.Context
	forget func() bool // stops waiting for ctx's end

	mu   sync.Mutex
	exam *exam // guarded by mu: nil before the start and after the end
	over error // guarded by mu: what the call ended with
}

// errAnswered is a call that has had its answer.
var errAnswered = status.Error(codes.Internal, "the call is over")

// Send takes the start or data; what of them is needed later is copied.
func (d *directCheck) Send(req *filterv1.CheckRequest) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over != nil {
		return io.EOF // as with gRPC: CloseAndRecv tells why
	}
	defer d.guard(&err)
	switch part := req.GetPart().(type) {
	case *filterv1.CheckRequest_Start:
		if d.exam == nil {
			d.exam = d.s.begin(d.ctx, part.Start.GetEnvelope(), part.Start.GetTrusted())
			return nil
		}
	case *filterv1.CheckRequest_Data:
		if d.exam != nil {
			d.exam.write(part.Data)
			return nil
		}
	}
	d.end(status.Error(codes.InvalidArgument, "a check is one start and then data"))
	return io.EOF
}

// CloseAndRecv gives the verdict.
func (d *directCheck) CloseAndRecv() (resp *filterv1.CheckResponse, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over != nil {
		return nil, d.over
	}
	defer d.guard(&err)
	if d.exam == nil {
		d.end(status.Error(codes.InvalidArgument, "check without a start"))
		return nil, d.over
	}
	v := d.exam.finish(stageDialogue)
	d.end(errAnswered)
	if err := d.ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	return &filterv1.CheckResponse{Verdict: v}, nil
}

// guard turns a panic into the call's error.
func (d *directCheck) guard(err *error) {
	if p := recover(); p != nil {
		d.s.deps.Log.ErrorContext(d.ctx, "call panicked", obs.Reason(fmt.Sprint(p)), obs.Stack(debug.Stack()))
		d.end(status.Error(codes.Internal, "panic in the filter"))
		*err = d.over
	}
}

// end is the call's end; it needs mu.
func (d *directCheck) end(why error) {
	d.over = why
	d.forget()
	if d.exam != nil {
		d.exam.end()
		d.exam = nil
	}
}

// abandon ends the call with its context.
func (d *directCheck) abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over == nil {
		d.end(status.FromContextError(d.ctx.Err()).Err())
	}
}

// CloseSend says that the body has ended; CloseAndRecv says so too.
func (d *directCheck) CloseSend() error { return nil }

// The rest of grpc.ClientStream, which generated clients do not use.

func (d *directCheck) Header() (metadata.MD, error) { return nil, nil }
func (d *directCheck) Trailer() metadata.MD         { return nil }
func (d *directCheck) Context() context.Context     { return d.ctx }
func (d *directCheck) SendMsg(any) error            { return errTyped }
func (d *directCheck) RecvMsg(any) error            { return errTyped }

var errTyped = status.Error(codes.Unimplemented, "use Send and CloseAndRecv")
