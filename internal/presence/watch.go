package presence

import (
	"context"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"

	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

const (
	// watchEvery is how often it is asked whether the accounts with sessions are still there: word of a removal may be lost.
	watchEvery = time.Minute
	watchTime  = 10 * time.Second
	// perQuestion is how many accounts one question names.
	perQuestion = 1000
)

// Accounts is the part of directoryv1.RemovedAccountsClient that a Desk calls.
type Accounts interface {
	Who(ctx context.Context, in *directoryv1.WhoRequest, opts ...grpc.CallOption) (*directoryv1.WhoResponse, error)
}

// Watch ends the sessions of accounts that are not there any more, until ctx ends.
func (d *Desk) Watch(ctx context.Context, accounts Accounts) error {
	if len(d.fronts) == 0 || accounts == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.sweep(ctx, accounts)
		}
	}
}

// sweep looks once. What the directory does not answer is asked again the next time.
func (d *Desk) sweep(ctx context.Context, accounts Accounts) {
	here := map[uint64]struct{}{}
	for _, sessions := range d.fronts {
		for _, s := range sessions() {
			if id := s.Card().account(); id != 0 {
				here[id] = struct{}{}
			}
		}
	}
	for ids := range slices.Chunk(slices.Collect(maps.Keys(here)), perQuestion) {
		if gone := missing(ctx, accounts, ids); len(gone) > 0 {
			d.tell(&adminv1.SessionsQuestion{Accounts: gone, End: adminv1.EndReason_END_REASON_REMOVED})
		}
	}
}

// missing are those of ids that the directory does not know any more; none where it does not answer.
func missing(ctx context.Context, accounts Accounts, ids []uint64) (gone []uint64) {
	ctx, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	resp, err := accounts.Who(ctx, &directoryv1.WhoRequest{Ids: ids})
	if err != nil || len(resp.GetAddresses()) != len(ids) {
		return nil
	}
	for i, address := range resp.GetAddresses() {
		if address == "" {
			gone = append(gone, ids[i])
		}
	}
	return gone
}
