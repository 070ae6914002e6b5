package acceptance_test

import (
	"errors"
	"testing"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/reply"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

func TestRefusal(t *testing.T) {
	for _, row := range []struct {
		kind directoryv1.Kind
		want string
	}{
		{directoryv1.Kind_KIND_ACCOUNT, ""},
		{directoryv1.Kind_KIND_ALIAS, ""},
		{directoryv1.Kind_KIND_UNKNOWN, "550 5.1.1 no such user here"},
		{directoryv1.Kind_KIND_INVALID, "553 5.1.3 address not understood"},
		{directoryv1.Kind_KIND_UNSPECIFIED, "451 4.3.0 cannot look the recipient up now, try again later"},
		{directoryv1.Kind(99), "451 4.3.0 cannot look the recipient up now, try again later"},
	} {
		err := acceptance.Refusal(row.kind)
		if row.want == "" {
			if err != nil {
				t.Errorf("%v: got %v, want no refusal", row.kind, err)
			}
			continue
		}
		var r *reply.Error
		if !errors.As(err, &r) || r.String() != row.want {
			t.Errorf("%v: got %v, want %s", row.kind, err, row.want)
		}
	}
}
