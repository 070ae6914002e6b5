package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Forward makes a server pass calls of services that it has not on to other processes: the operator's door of one process
// opens the whole farm. pick tells where a method ("/package.Service/Method") is; nil: nowhere.
func Forward(pick func(method string) *grpc.ClientConn) []grpc.ServerOption {
	handler := func(_ any, in grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(in)
		conn := pick(method)
		if conn == nil {
			return status.Errorf(codes.Unimplemented, "%s is not served here, and rpc.targets does not say where it is", method)
		}
		return forward(in, conn, method)
	}
	return []grpc.ServerOption{grpc.UnknownServiceHandler(handler), grpc.ForceServerCodec(codec{})}
}

// forward copies messages both ways until the other side has said its last word.
func forward(in grpc.ServerStream, conn *grpc.ClientConn, method string) error {
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md.Copy())
	}
	out, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodec(codec{}))
	if err != nil {
		return err
	}
	go func() {
		for {
			m := &raw{}
			if err := in.RecvMsg(m); err != nil {
				if errors.Is(err, io.EOF) {
					out.CloseSend() // its error comes by RecvMsg below
				} else {
					cancel()
				}
				return
			}
			if out.SendMsg(m) != nil {
				return // RecvMsg below tells why
			}
		}
	}()
	header, err := out.Header()
	if err == nil {
		err = in.SendHeader(header)
	}
	for err == nil {
		m := &raw{}
		if err = out.RecvMsg(m); err == nil {
			err = in.SendMsg(m)
		}
	}
	in.SetTrailer(out.Trailer())
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// raw is a message that is passed on as it is.
type raw struct{ octets []byte }

// codec encodes raw messages as they are, and others as protobuf.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) ([]byte, error) {
	switch m := v.(type) {
	case *raw:
		return m.octets, nil
	case proto.Message:
		return proto.Marshal(m)
	}
	return nil, fmt.Errorf("encode a %T", v)
}

func (codec) Unmarshal(data []byte, v any) error {
	switch m := v.(type) {
	case *raw:
		m.octets = data
		return nil
	case proto.Message:
		return proto.Unmarshal(data, m)
	}
	return fmt.Errorf("decode a %T", v)
}
