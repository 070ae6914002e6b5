package rpc

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/pgdb"
)

func TestDatabaseAwayIsUnavailable(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want codes.Code
	}{
		{fmt.Errorf("append: %w: %w", pgdb.ErrAway, errors.New("connection refused")), codes.Unavailable},
		{fmt.Errorf("append: %w", pgdb.ErrBusy), codes.Unavailable},
		{fmt.Errorf("commit: %w: %w", pgdb.ErrUnknown, errors.New("unexpected EOF")), codes.Unavailable},
		{errors.New("boom"), codes.Internal},
	} {
		if got := status.Code(toStatus(tt.err)); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
}
