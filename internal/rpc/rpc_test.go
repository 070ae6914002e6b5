package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/reply"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

type leases struct {
	storev1.UnimplementedLeasesServer
	fail func() error
}

func (l leases) Acquire(context.Context, *storev1.AcquireRequest) (*storev1.AcquireResponse, error) {
	return &storev1.AcquireResponse{}, l.fail()
}

func TestErrorsCrossTheWire(t *testing.T) {
	full := reply.Transient(452, "4.2.2", "mailbox full").Because(errors.New("secret cause"))
	for _, tt := range []struct {
		name string
		fail func() error
		code codes.Code
		says string // reply.Of
	}{
		{"none", func() error { return nil }, codes.OK, ""},
		{"status", func() error { return status.Error(codes.NotFound, "no mailbox") }, codes.NotFound, "451 4.3.0 temporary local problem, try again later"},
		{"wrapped verdict", func() error { return fmt.Errorf("append: %w", full) }, codes.Unavailable, "452 4.2.2 mailbox full"},
		{"permanent verdict", func() error { return reply.Permanent(550, "5.1.1", "nobody") }, codes.FailedPrecondition, "550 5.1.1 nobody"},
		{"plain", func() error { return errors.New("disk on fire") }, codes.Internal, "451 4.3.0 temporary local problem, try again later"},
		{"deadline", func() error { return context.DeadlineExceeded }, codes.DeadlineExceeded, "451 4.3.0 temporary local problem, try again later"},
		{"panic", func() error { panic("boom") }, codes.Internal, "451 4.3.0 temporary local problem, try again later"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, serve func(func(grpc.ServiceRegistrar)) grpc.ClientConnInterface) {
				conn := serve(func(r grpc.ServiceRegistrar) { storev1.RegisterLeasesServer(r, leases{fail: tt.fail}) })
				_, err := storev1.NewLeasesClient(conn).Acquire(t.Context(), &storev1.AcquireRequest{})
				if got := status.Code(err); got != tt.code {
					t.Errorf("got code %v, want %v (%v)", got, tt.code, err)
				}
				if err != nil {
					if got := reply.Of(err).String(); got != tt.says {
						t.Errorf("got verdict %q, want %q", got, tt.says)
					}
				}
			})
		})
	}
}
