package rpc

import (
	"context"
	"io"
	"reflect"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// streamAhead is how many messages one side of a stream may be ahead of the other.
const streamAhead = 2

// insideStream is a call with streams, under way.
type insideStream struct {
	conn   *Inside
	desc   *grpc.StreamDesc // as the caller has it
	caller context.Context
	ctx    context.Context // the handler's

	requests  chan []byte        // encoded
	said      chan struct{}      // closed by CloseSend
	responses chan proto.Message // copies, or given
	over      chan struct{}      // closed when the handler has ended
	err       error              // what it ended with; set before over is closed

	mu      sync.Mutex
	header  metadata.MD // guarded by mu until headed is closed
	trailer metadata.MD // guarded by mu until over is closed
	headed  chan struct{}
	head    func()
	shut    func() // closes said
}

// NewStream begins a call with streams. That nobody serves it is heard from the stream, as over gRPC.
func (c *Inside) NewStream(ctx context.Context, desc *grpc.StreamDesc, name string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	m, err := c.find(ctx, name)
	if err == nil && m.stream == nil {
		err = status.Errorf(codes.Unimplemented, "%s is no stream", name)
	}
	unserved := status.Code(err) == codes.Unimplemented
	if err != nil && !unserved {
		return nil, err
	}
	s := &insideStream{
		conn: c, desc: desc, caller: ctx, requests: make(chan []byte, streamAhead), responses: make(chan proto.Message, streamAhead),
		said: make(chan struct{}), over: make(chan struct{}), headed: make(chan struct{}),
	}
	s.shut = sync.OnceFunc(func() { close(s.said) })
	s.head = sync.OnceFunc(func() { close(s.headed) })
	if unserved {
		s.err = err
		s.head()
		close(s.over)
		return clientStream{callerStream{s}}, nil
	}
	c.hands.run(func() {
		var end func()
		s.ctx, end = c.handlerContext(ctx)
		defer end()
		info := &grpc.StreamServerInfo{FullMethod: name, IsClientStream: m.stream.ClientStreams, IsServerStream: m.stream.ServerStreams}
		s.err = c.stream(m.impl, handlerStream{s}, info, m.stream.Handler)
		s.head()
		close(s.over)
	})
	return clientStream{callerStream{s}}, nil
}

// given is a response that is its receiver's; encoded it is the message itself.
type given struct{ proto.Message }

// Given marks a response for SendMsg that nobody changes from now on, nor anything it points to: neither the handler nor its
// caller, beyond the fields of the messages themselves, which are the caller's. Within the process it is not copied then.
func Given(m proto.Message) proto.Message { return given{m} }

// callerStream is the caller's end of it.
type callerStream struct{ *insideStream }

func (s callerStream) Context() context.Context { return s.caller }

// Header waits for what the handler says first.
func (s callerStream) Header() (metadata.MD, error) {
	select {
	case <-s.headed:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.header, nil
	case <-s.caller.Done():
	case <-s.conn.closed.Done():
	}
	return nil, s.conn.ended(s.caller)
}

// Trailer is what the handler said last: it is there once RecvMsg has told of the end.
func (s callerStream) Trailer() metadata.MD {
	select {
	case <-s.over:
		return s.trailer
	default:
		return nil
	}
}

func (s callerStream) CloseSend() error {
	s.shut()
	return nil
}

// SendMsg gives io.EOF where the call has ended; RecvMsg tells why. For the one request of a call that streams responses only
// it gives nil, as over gRPC: generated code would take EOF for the outcome.
func (s callerStream) SendMsg(req any) error {
	octets, err := encode(req)
	if err != nil {
		return err
	}
	select {
	case <-s.over: // first, where both are possible
		return s.unsent()
	case <-s.said:
		return status.Error(codes.Internal, "a request came after the last")
	default:
	}
	select {
	case s.requests <- octets:
		return nil
	case <-s.over:
	case <-s.caller.Done():
	case <-s.conn.closed.Done():
	}
	return s.unsent()
}

func (s callerStream) unsent() error {
	if s.desc.ClientStreams {
		return io.EOF
	}
	return nil
}

func (s callerStream) RecvMsg(resp any) error {
	got, err := s.next()
	if err != nil {
		if err == io.EOF && !s.desc.ServerStreams {
			return status.Error(codes.Internal, "a call ended well without its response")
		}
		return err
	}
	if !s.desc.ServerStreams {
		// The one response counts only if the call ends well.
		if _, err := s.next(); err != io.EOF {
			if err == nil {
				err = status.Error(codes.Internal, "a call had more than its one response")
			}
			return err
		}
	}
	// A copy that nobody else has: its fields may move.
	to, from := reflect.ValueOf(resp), reflect.ValueOf(got)
	if to.Type() != from.Type() {
		return status.Errorf(codes.Internal, "got a %T for a %T", got, resp)
	}
	to.Elem().Set(from.Elem())
	return nil
}

// next waits for a response: io.EOF after the last.
func (s callerStream) next() (proto.Message, error) {
	select {
	case got := <-s.responses:
		return got, nil
	case <-s.over:
		select {
		case got := <-s.responses:
			return got, nil
		default:
		}
		if s.err != nil {
			return nil, s.err
		}
		return nil, io.EOF
	case <-s.caller.Done():
	case <-s.conn.closed.Done():
	}
	return nil, s.conn.ended(s.caller)
}

// handlerStream is the handler's end of it.
type handlerStream struct{ *insideStream }

func (s handlerStream) Context() context.Context { return s.ctx }

func (s handlerStream) SetHeader(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.headed:
		return status.Error(codes.Internal, "the header was sent already")
	default:
	}
	s.header = metadata.Join(s.header, md)
	return nil
}

func (s handlerStream) SendHeader(md metadata.MD) error {
	err := s.SetHeader(md)
	if err == nil {
		s.head()
	}
	return err
}

func (s handlerStream) SetTrailer(md metadata.MD) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trailer = metadata.Join(s.trailer, md)
}

func (s handlerStream) SendMsg(resp any) error {
	m := resp.(proto.Message)
	if err := checkSize(m); err != nil {
		return err
	}
	if given, ok := m.(given); ok {
		m = given.Message
	} else {
		m = proto.Clone(m)
	}
	s.head()
	select {
	case s.responses <- m:
		return nil
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

func (s handlerStream) RecvMsg(req any) error {
	select {
	case octets := <-s.requests:
		return decode(octets, req)
	case <-s.said:
		select {
		case octets := <-s.requests:
			return decode(octets, req)
		default:
			return io.EOF
		}
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}
