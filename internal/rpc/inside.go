package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Inside serves calls within the process and makes them: both ends of a connection that is none.
//
// A call is what it is over gRPC, but for the network: handled in a goroutine that no other call has; the same limits, interceptors and
// errors; a caller's deadline and cancellation reach the handler, its context's values do not, only metadata. Requests cross
// encoded, so that what could not reach another process fails here too; responses are copied unless they are Given, so that
// neither side sees what the other does to a message. What a unary call's handler says of header and trailer is not told, nor are call options
// heeded. Calls made before Serve wait for it.
type Inside struct {
	unary   grpc.UnaryServerInterceptor
	stream  grpc.StreamServerInterceptor
	methods map[string]*insideMethod // by full name

	hands  *hands
	begun  chan struct{} // closed by Serve
	begin  func()
	closed context.Context
	close  context.CancelFunc
}

// errClosing is what calls end with by Close, as those of a *grpc.ClientConn do.
var errClosing = status.Error(codes.Canceled, "the connection within the process is closing")

type insideMethod struct {
	impl   any
	unary  *grpc.MethodDesc
	stream *grpc.StreamDesc
}

// NewInside makes a connection whose calls are counted by m, which may be nil. Services are registered before Serve.
func NewInside(log *slog.Logger, m *Metrics) *Inside {
	c := &Inside{unary: unaryServer(log), stream: streamServer(log), methods: map[string]*insideMethod{}, begun: make(chan struct{})}
	if m != nil {
		c.unary, c.stream = bothUnary(c.unary, m.servedUnary), bothStream(c.stream, m.servedStream)
	}
	c.begin = sync.OnceFunc(func() { close(c.begun) })
	c.closed, c.close = context.WithCancel(context.Background())
	c.hands = newHands(c.closed)
	return c
}

// RegisterService adds a service, as a *grpc.Server does.
func (c *Inside) RegisterService(desc *grpc.ServiceDesc, impl any) {
	prefix := "/" + desc.ServiceName + "/"
	for i := range desc.Methods {
		c.methods[prefix+desc.Methods[i].MethodName] = &insideMethod{impl: impl, unary: &desc.Methods[i]}
	}
	for i := range desc.Streams {
		c.methods[prefix+desc.Streams[i].StreamName] = &insideMethod{impl: impl, stream: &desc.Streams[i]}
	}
}

// Serve begins to answer.
func (c *Inside) Serve() { c.begin() }

// Close ends all calls. It does not wait for their handlers.
func (c *Inside) Close() { c.close() }

// find waits for Serve and gives a method.
func (c *Inside) find(ctx context.Context, name string) (*insideMethod, error) {
	select {
	case <-c.begun:
	case <-ctx.Done():
	case <-c.closed.Done():
	}
	if c.closed.Err() != nil {
		return nil, errClosing
	}
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	m := c.methods[name]
	if m == nil {
		return nil, status.Errorf(codes.Unimplemented, "%s is not served here", name)
	}
	return m, nil
}

// ended is why a call ended whose handler has not: its context's error, or that of the connection.
func (c *Inside) ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return errClosing
}

// callerContext is what a handler may know of its caller's context: when it ends.
type callerContext struct{ context.Context }

func (callerContext) Value(any) any { return nil }

// AfterFunc spares package context a goroutine that waits for the end.
func (c callerContext) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(c.Context, f) }

// handlerContext is what a handler works in; it ends with end, with the caller's, and with the connection.
func (c *Inside) handlerContext(caller context.Context) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancel(callerContext{caller})
	forget := context.AfterFunc(c.closed, cancel)
	if md, ok := metadata.FromOutgoingContext(caller); ok {
		ctx = metadata.NewIncomingContext(ctx, md)
	}
	return ctx, func() { forget(); cancel() }
}

// Invoke makes a unary call.
func (c *Inside) Invoke(ctx context.Context, name string, req, resp any, _ ...grpc.CallOption) error {
	m, err := c.find(ctx, name)
	if err != nil {
		return err
	}
	if m.unary == nil {
		return status.Errorf(codes.Unimplemented, "%s is a stream", name)
	}
	octets, err := encode(req)
	if err != nil {
		return err
	}
	call := &insideCall{resp: resp.(proto.Message), done: make(chan error, 1)}
	c.hands.run(func() {
		ctx, end := c.handlerContext(ctx)
		defer end()
		got, err := m.unary.Handler(m.impl, ctx, func(req any) error { return decode(octets, req) }, c.unary)
		call.finish(got, err)
	})
	select {
	case err = <-call.done:
	case <-ctx.Done():
		err = call.abandon(c.ended(ctx))
	case <-c.closed.Done():
		err = call.abandon(c.ended(ctx))
	}
	return fromStatus(err)
}

// insideCall is a unary call whose handler may be at work longer than its caller waits.
type insideCall struct {
	done chan error

	mu   sync.Mutex
	resp proto.Message // guarded by mu: nil once nobody waits any more
}

// finish is the handler's end.
func (c *insideCall) finish(got any, err error) {
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.resp == nil {
			return
		}
		if err = checkSize(got.(proto.Message)); err == nil {
			proto.Reset(c.resp)
			proto.Merge(c.resp, got.(proto.Message))
		}
	}
	c.done <- err
}

// abandon is the caller's end, unless the handler was faster.
func (c *insideCall) abandon(why error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resp = nil
	select {
	case err := <-c.done:
		return err
	default:
		return why
	}
}

// encode checks a request as it would be on its way to another process.
func encode(req any) ([]byte, error) {
	octets, err := proto.Marshal(req.(proto.Message))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode %T: %v", req, err)
	}
	return octets, tooLarge(len(octets))
}

func decode(octets []byte, req any) error {
	if err := proto.Unmarshal(octets, req.(proto.Message)); err != nil {
		return status.Errorf(codes.Internal, "decode %T: %v", req, err)
	}
	return nil
}

func checkSize(m proto.Message) error { return tooLarge(proto.Size(m)) }

func tooLarge(size int) error {
	if size > MaxMessage {
		return status.Error(codes.ResourceExhausted, fmt.Sprintf("message of %d octets is larger than %d", size, MaxMessage))
	}
	return nil
}

// bothUnary is an interceptor around another.
func bothUnary(outer, inner grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		return outer(ctx, req, info, func(ctx context.Context, req any) (any, error) { return inner(ctx, req, info, handler) })
	}
}

func bothStream(outer, inner grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return outer(srv, ss, info, func(srv any, ss grpc.ServerStream) error { return inner(srv, ss, info, handler) })
	}
}
