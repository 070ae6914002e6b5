package acceptance_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/acceptance"
	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/reply"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// people are accounts by their addresses.
type people map[string]uint64

func (p people) Resolve(_ context.Context, in *directoryv1.ResolveRequest, _ ...grpc.CallOption) (*directoryv1.ResolveResponse, error) {
	resp := &directoryv1.ResolveResponse{}
	for _, a := range in.GetAddresses() {
		kind := directoryv1.Kind_KIND_ACCOUNT
		if p[a] == 0 {
			kind = directoryv1.Kind_KIND_ALIAS
		}
		resp.Resolutions = append(resp.Resolutions, &directoryv1.Resolution{Kind: kind, Account: p[a]})
	}
	return resp, nil
}

// fulls are the accounts that are full.
type fulls struct {
	full  map[uint64]bool
	err   error
	hangs bool
	calls int
}

func (f *fulls) Full(ctx context.Context, in *storev1.FullRequest, _ ...grpc.CallOption) (*storev1.FullResponse, error) {
	f.calls++
	if f.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	resp := &storev1.FullResponse{}
	for _, id := range in.GetAccounts() {
		resp.Full = append(resp.Full, f.full[id])
	}
	return resp, f.err
}

func TestRooms(t *testing.T) {
	for _, tt := range []struct {
		name, overQuota string
		code            string
	}{
		{"deferred", acceptance.OverQuotaDefer, "452 4.2.2 mailbox full"},
		{"rejected", acceptance.OverQuotaReject, "552 5.2.2 mailbox full"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(1_700_000_000, 0)
			clock := func() time.Time { return now }
			store := &fulls{full: map[uint64]bool{2: true}}
			resolver := acceptance.NewResolver(people{"a@x": 1, "b@x": 2}, clock)
			rooms := acceptance.NewRooms(store, acceptance.Config{OverQuota: tt.overQuota}, clock)
			addresses := []envelope.ForwardPath{"a@x", "b@x", "alias@x"}
			ask := func() []error {
				t.Helper()
				if _, err := resolver.Kinds(t.Context(), nil, addresses); err != nil {
					t.Fatal(err)
				}
				return rooms.Refusals(t.Context(), resolver, addresses)
			}
			got := ask()
			if got[0] != nil || got[1] == nil || got[2] != nil || reply.Of(got[1]).String() != tt.code {
				t.Errorf("got %v", got)
			}
			// Remembered for a while, and no longer.
			if ask(); store.calls != 1 {
				t.Errorf("asked %d times", store.calls)
			}
			store.full = nil
			now = now.Add(11 * time.Second)
			if got := ask(); got[1] != nil || store.calls != 2 {
				t.Errorf("with room again: %v after %d calls", got, store.calls)
			}
			// A store that is away keeps no mail away, and is left alone for a moment.
			store.full, store.err = map[uint64]bool{1: true, 2: true}, errors.New("away")
			now = now.Add(11 * time.Second)
			for range 3 {
				if got := ask(); got[0] != nil || got[1] != nil {
					t.Errorf("store is away: %v", got)
				}
			}
			if store.calls != 3 {
				t.Errorf("asked %d times", store.calls)
			}
			store.err, store.hangs = nil, true
			now = now.Add(6 * time.Second)
			if got := ask(); got[0] != nil || got[1] != nil || store.calls != 4 {
				t.Errorf("store hangs: %v after %d calls", got, store.calls)
			}
			store.hangs = false
			now = now.Add(6 * time.Second)
			if got := ask(); got[0] == nil || got[1] == nil {
				t.Errorf("store is back: %v", got)
			}
		})
	}
	none := acceptance.NewRooms(nil, acceptance.Config{}, time.Now)
	if got := none.Refusals(t.Context(), acceptance.NewResolver(people{}, time.Now), []envelope.ForwardPath{"a@x"}); len(got) != 1 || got[0] != nil {
		t.Errorf("without quotas: %v", got)
	}
}
