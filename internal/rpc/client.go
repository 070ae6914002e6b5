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

// Local serves srv, which has its services, within the process over gRPC, for tests of what crosses it. stop ends both sides.
func Local(srv *grpc.Server) (conn *grpc.ClientConn, stop func(), err error) {
	lis := bufconn.Listen(localBuffer)
	conn, err = Dial("passthrough:local",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		return nil, nil, fmt.Errorf("connect within the process: %w", err)
	}
	go srv.Serve(lis) // it ends by Stop, and its error says no more than that
	return conn, func() {
		conn.Close()
		srv.Stop()
	}, nil
}
