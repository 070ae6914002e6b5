package store

import (
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/index/whole"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// maxKnownAccounts is how many accounts a caller of DumpChanged may have, maxKnownQueued how many recipients in the queue.
const (
	maxKnownAccounts = 20_000_000
	maxKnownQueued   = 5_000_000
)

// DumpChanged hands over the accounts that are not as the caller has them.
func (s *backups) DumpChanged(stream grpc.BidiStreamingServer[storev1.DumpChangedRequest, storev1.DumpChangedResponse]) error {
	known, err := knownAccounts(stream)
	if err != nil {
		return err
	}
	tables, number := tablesOf()
	var resp *storev1.DumpChangedResponse
	size := 0
	flush := func() error {
		if resp == nil {
			return nil
		}
		full := resp
		resp, size = &storev1.DumpChangedResponse{}, 0
		return stream.Send(full)
	}
	begin := func(st whole.State) error {
		err := flush()
		resp = &storev1.DumpChangedResponse{Tables: tables,
			State: &storev1.AccountState{Account: uint64(st.Account), ModSeq: uint64(st.ModSeq), Fingerprint: st.Fingerprint[:]}}
		return err
	}
	err = s.Whole.DumpChanged(stream.Context(), known, begin, func(t *whole.Table, row []any) error {
		r, n := toRow(number[t], row)
		resp.Rows = append(resp.Rows, r)
		if size += n; size < rowsPiece {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	return toStatus(err)
}

// knownAccounts reads what a caller has.
func knownAccounts(stream grpc.BidiStreamingServer[storev1.DumpChangedRequest, storev1.DumpChangedResponse]) (map[mailbox.AccountID]whole.Known, error) {
	known := map[mailbox.AccountID]whole.Known{}
	recipients := 0
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return known, nil
		}
		if err != nil {
			return nil, err
		}
		for _, a := range req.GetAccounts() {
			if recipients += len(a.GetQueued()); recipients > maxKnownQueued || len(known) >= maxKnownAccounts {
				return nil, invalid("more than %d recipients in the queue or %d accounts", maxKnownQueued, maxKnownAccounts)
			}
			queued, err := queuedOf(a.GetQueued())
			if err != nil {
				return nil, err
			}
			id, err := account(a.GetAccount())
			if err != nil {
				return nil, err
			}
			known[id] = whole.Known{ModSeq: mailbox.ModSeq(a.GetModSeq()), Queued: queued}
		}
	}
}
