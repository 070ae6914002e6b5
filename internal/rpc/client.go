package rpc

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

// Dial connects to target. Calls fail with errors on which status.Code and reply.Of both work.
func Dial(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, append([]grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, resp any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return fromStatus(invoke(ctx, method, req, resp, cc, opts...))
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			s, err := streamer(ctx, desc, cc, method, opts...)
			if err != nil {
				return nil, fromStatus(err)
			}
			return clientStream{s}, nil
		}),
	}, opts...)...)
}

type clientStream struct{ grpc.ClientStream }

func (s clientStream) RecvMsg(m any) error { return fromStatus(s.ClientStream.RecvMsg(m)) }

// localBuffer is how much a call within the process may have under way on the connection, octets.
const localBuffer = 1 << 20

// Loopback is a connection within the process. Calls made before Serve wait for it.
type Loopback struct {
	Conn *grpc.ClientConn
	lis  *bufconn.Listener
	srv  *grpc.Server
}

// NewLoopback connects; services are registered on srv before Serve.
func NewLoopback(srv *grpc.Server) (*Loopback, error) {
	l := &Loopback{lis: bufconn.Listen(localBuffer), srv: srv}
	conn, err := Dial("passthrough:local",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.lis.DialContext(ctx) }))
	if err != nil {
		return nil, fmt.Errorf("connect within the process: %w", err)
	}
	l.Conn = conn
	return l, nil
}

// Serve begins to answer.
func (l *Loopback) Serve() { go l.srv.Serve(l.lis) } // it ends by Close, and its error says no more than that

// Close ends both sides.
func (l *Loopback) Close() {
	l.Conn.Close()
	l.srv.Stop()
}

// Local serves srv, which has its services, within the process. stop ends both sides.
func Local(srv *grpc.Server) (conn *grpc.ClientConn, stop func(), err error) {
	l, err := NewLoopback(srv)
	if err != nil {
		return nil, nil, err
	}
	l.Serve()
	return l.Conn, l.Close, nil
}
