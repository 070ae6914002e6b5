package pgdb

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestAwayIsUnavailable shows what callers of a role see that answers with these errors: the code by which calls are tried
// again that a repeat does no harm to.
func TestAwayIsUnavailable(t *testing.T) {
	cause := errors.New("connection refused")
	for _, tt := range []struct {
		err  error
		want codes.Code
	}{
		{fmt.Errorf("record 3 messages: %w", fmt.Errorf("%w: %w", ErrAway, cause)), codes.Unavailable},
		{fmt.Errorf("acquire connection: %w: %w", ErrBusy, cause), codes.Unavailable},
		{fmt.Errorf("commit: %w: %w", ErrUnknown, cause), codes.Unavailable},
		{fmt.Errorf("commit: %w", ErrFull), codes.Unknown},
	} {
		s, ok := status.FromError(tt.err)
		if ok != (tt.want == codes.Unavailable) || s.Code() != tt.want || s.Message() != tt.err.Error() {
			t.Errorf("%v: got %v %q, want %v with the whole text", tt.err, s.Code(), s.Message(), tt.want)
		}
	}
}
