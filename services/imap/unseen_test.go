package imap_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// countedSharing counts the calls that count what is unseen.
type countedSharing struct {
	storev1.SharingClient
	calls *atomic.Int32
}

func (c countedSharing) Unseen(ctx context.Context, in *storev1.UnseenRequest, opts ...grpc.CallOption) (*storev1.UnseenResponse, error) {
	c.calls.Add(1)
	return c.SharingClient.Unseen(ctx, in, opts...)
}

func (c countedSharing) CountUnseen(ctx context.Context, in *storev1.CountUnseenRequest, opts ...grpc.CallOption) (*storev1.CountUnseenResponse, error) {
	c.calls.Add(1)
	return c.SharingClient.CountUnseen(ctx, in, opts...)
}

// TestListCountsInOneCall: LIST with STATUS of what others share asks the store once for what the reader has not seen.
func TestListCountsInOneCall(t *testing.T) {
	f := startFarm(t, nil)
	reader := f.user(t)
	var want []string
	for i := range 2 {
		owner, account := f.account(t)
		w := watch(t, f, owner)
		for k := range 3 {
			name := fmt.Sprintf("Team%d", k)
			w.do("CREATE " + name)
			w.do("SETACL " + name + " " + reader + " lr")
			f.fill(t, account, name, numbered(0, i+k)...)
			want = append(want, fmt.Sprintf(`* STATUS "Other Users/%s/%s" (UNSEEN %d)`, owner, name, i+k))
		}
		w.do("SETACL Sent " + reader + " l") // may be seen, not read
	}
	f.stop()
	calls := &atomic.Int32{}
	f.sharing = countedSharing{f.sharing, calls}
	f.startRoles(t, nil)
	r := watch(t, f, reader)
	lines, end := r.answers(`LIST "" "Other Users/*" RETURN (STATUS (UNSEEN))`)
	all := strings.Join(lines, "\n")
	for _, w := range want {
		if !strings.Contains(all, w) {
			t.Errorf("%s is not told", w)
		}
	}
	if n := strings.Count(all, "* STATUS"); !strings.HasPrefix(end, "OK") || n != len(want) || calls.Load() != 1 {
		t.Errorf("%s, %d told, %d calls; want %d told in one call\n%s", end, n, calls.Load(), len(want), all)
	}
}
