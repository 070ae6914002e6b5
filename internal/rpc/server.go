package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// MaxMessage is the largest request or response, octets: a batch of deliveries with their part indexes fits well.
const MaxMessage = 32 << 20

// NewServer makes a server whose handlers may return plain errors and verdicts; a panic ends one call, not the process.
func NewServer(log *slog.Logger, opts ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.ChainUnaryInterceptor(unaryServer(log)),
		grpc.ChainStreamInterceptor(streamServer(log)),
	}, opts...)...)
}

func unaryServer(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
		defer func() {
			if err = finish(ctx, log, info.FullMethod, recover(), err); err != nil {
				grpc.SetTrailer(ctx, noRetry)
			}
		}()
		return handler(ctx, req)
	}
}

func streamServer(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		defer func() {
			if err = finish(ss.Context(), log, info.FullMethod, recover(), err); err != nil {
				ss.SetTrailer(noRetry)
			}
		}()
		return handler(srv, ss)
	}
}

// noRetry goes with an error that a handler gave: it waited as long as was good already. Only calls that met no handler, or
// whose process went away, are tried again elsewhere (gRPC A6, server pushback).
var noRetry = metadata.Pairs("grpc-retry-pushback-ms", "-1")

func finish(ctx context.Context, log *slog.Logger, method string, panicked any, err error) error {
	if panicked != nil {
		log.ErrorContext(ctx, "call panicked", "method", method, obs.Reason(fmt.Sprint(panicked)), obs.Stack(debug.Stack()))
		return status.Error(codes.Internal, "panic in "+method)
	}
	err = toStatus(err)
	if status.Code(err) == codes.Internal {
		log.WarnContext(ctx, "call failed", "method", method, obs.Error(err))
	}
	return err
}
