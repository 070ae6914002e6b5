package search

import (
	"context"

	"github.com/mailfarm/mailfarm/internal/ledger"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// Old makes the row of messages that were recorded before there were search rows, and says as of when it is to be written.
func Old(entries []*storev1.LedgerEntry) (data []byte, at int64) {
	var w Writer
	for _, e := range entries {
		if e.Message == nil {
			continue // pruned since
		}
		w.Message(&storev1.Routed{Message: e.Message, Recipients: e.Recipients})
		at = max(at, e.RecordedNs)
		for _, r := range e.Recipients {
			at = max(at, r.ChangedNs)
		}
	}
	return w.Data(), at
}

// Gone tells which rows speak of no message that the ledger knows.
func Gone(ctx context.Context, rows []Row, known func(context.Context, [][]byte) ([]ledger.Known, error)) ([]Row, error) {
	var gone []Row
	for _, r := range rows {
		all, err := known(ctx, IDs(r.Data))
		if err != nil {
			return nil, err
		}
		some := false
		for _, k := range all {
			some = some || k.Found
		}
		if !some {
			gone = append(gone, r)
		}
	}
	return gone, nil
}
