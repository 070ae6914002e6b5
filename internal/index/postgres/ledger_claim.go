package postgres

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// A claimed row is due when its lease ends, so that the sweep finds what a dead owner leaves behind. $3 is the lease; a row
// that another transaction changes at the same time is looked at again once that has ended.
//
// The conditions stand in a CASE so that the server does not count on them: one that knows nothing of the rows yet would take
// those that fulfil all of them for one, and compare every row of the table with every piece of work.
const claimRows = `UPDATE recipient r SET claim_owner = $2, claim_ns = ` + clockNs + ` + $3::bigint, due_ns = ` + clockNs + ` + $3::bigint
	FROM unnest($4::bytea[], $5::text[], $6::bigint[]) AS w (work_id, work_grp, work_generation)
	WHERE r.queue_id = w.work_id AND CASE
		WHEN r.grp <> w.work_grp OR r.generation <> w.work_generation OR r.state <> 1 OR r.destination <> 2 THEN false
		WHEN $7 THEN r.claim_owner = $2
		ELSE r.claim_owner IN ('', $2) OR r.claim_ns <= ` + clockNs + ` END
	RETURNING queue_id, ` + recipientColumns

// Claim takes remote work; see ledger.Hot.
func (l *Ledger) Claim(ctx context.Context, req *storev1.ClaimRequest) ([]*storev1.Claimed, error) {
	lease := time.Duration(req.LeaseMs) * time.Millisecond
	if lease <= 0 {
		lease = ledger.LeaseDefault
	}
	lease = min(lease, ledger.LeaseMax)
	if req.Owner == "" {
		return nil, fmt.Errorf("claim: %w: no owner", ledger.ErrInvalid)
	}
	for _, w := range req.Work {
		if err := checkIDs(w.QueueId); err != nil {
			return nil, fmt.Errorf("claim: %w", err)
		}
	}
	taken, found, err := l.claim(ctx, req, lease)
	if err != nil {
		return nil, fmt.Errorf("claim %d groups: %w", len(req.Work), err)
	}
	claims := make([]*storev1.Claimed, len(req.Work))
	for i, w := range req.Work {
		c := &storev1.Claimed{Recipients: taken[workOf(w)]}
		c.Claimed = len(c.Recipients) > 0
		if m := found.messages[[16]byte(w.QueueId)]; c.Claimed && m != nil {
			if c.Message, err = decodeMessage(m.queueID, m.blobID, m.data); err != nil {
				return nil, err
			}
		}
		claims[i] = c
	}
	return claims, nil
}

// work names the recipients of one claim.
type work struct {
	id         [16]byte
	group      string
	generation uint32
}

func workOf(w *mailv1.RemoteWork) work {
	return work{[16]byte(w.QueueId), plain(w.Group), w.Generation}
}

// claim takes what may be taken, and reads the messages along with it unless claims are only renewed.
func (l *Ledger) claim(ctx context.Context, req *storev1.ClaimRequest, lease time.Duration) (map[work][]*storev1.RecipientRow, loaded, error) {
	sorted := slices.SortedFunc(slices.Values(req.Work), func(a, b *mailv1.RemoteWork) int {
		return cmp.Or(bytes.Compare(a.QueueId, b.QueueId), cmp.Compare(a.Group, b.Group))
	})
	ids, groups, generations := make([][]byte, len(sorted)), make([]string, len(sorted)), make([]int64, len(sorted))
	for i, w := range sorted {
		ids[i], groups[i], generations[i] = w.QueueId, plain(w.Group), int64(w.Generation)
	}
	var found loaded
	taken := map[work][]*storev1.RecipientRow{}
	err := l.write(ctx, func(tx *pgdb.Tx) error {
		clear(taken)
		b := &pgx.Batch{}
		b.Queue(claimRows, l.clock(), plain(req.Owner), int64(lease), ids, groups, generations, req.Renew).Query(func(rows pgx.Rows) error {
			return eachRow(rows, nil, func() error {
				id, r, err := scanRecipient(rows)
				if err == nil {
					w := work{id, r.Group, r.Generation}
					taken[w] = append(taken[w], r)
				}
				return err
			})
		})
		if !req.Renew {
			found.queueMessages(b, ids)
		}
		return tx.Run(b)
	})
	return taken, found, err
}
