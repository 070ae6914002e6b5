package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/sqlitedb"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// A claimed row is due when its lease ends, so that the sweep finds what a dead owner leaves behind.
const (
	claimRows = `UPDATE recipient SET claim_owner = ?, claim_ns = ?, due_ns = ?
		WHERE queue_id = ? AND grp = ? AND generation = ? AND state = 1 AND destination = 2
		AND (claim_owner = '' OR claim_owner = ? OR claim_ns <= ?)
		RETURNING queue_id, ` + recipientColumns
	renewRows = `UPDATE recipient SET claim_owner = ?, claim_ns = ?, due_ns = ?
		WHERE queue_id = ? AND grp = ? AND generation = ? AND state = 1 AND destination = 2
		AND claim_owner = ?
		RETURNING queue_id, ` + recipientColumns
)

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
		if err := checkIDs([][]byte{w.QueueId}); err != nil {
			return nil, fmt.Errorf("claim: %w", err)
		}
	}
	claims := make([]*storev1.Claimed, len(req.Work))
	var messages map[[16]byte]*storedMessage
	err := l.write(ctx, func(tx *sqlitedb.Tx) (err error) {
		now := l.clock()
		var taken [][]byte
		for i, w := range req.Work {
			if claims[i], err = claimOne(tx, w, req, now, now+int64(lease)); err != nil {
				return fmt.Errorf("claim %x for %s: %w", w.QueueId, w.Group, err)
			}
			if claims[i].Claimed && !req.Renew {
				taken = append(taken, w.QueueId)
			}
		}
		messages, err = messagesOf(tx, taken)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, c := range claims {
		m := messages[[16]byte(req.Work[i].QueueId)]
		if m == nil || !c.Claimed {
			continue
		}
		if c.Message, err = decodeMessage(m.queueID, m.blobID, m.data); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

func claimOne(tx *sqlitedb.Tx, w *mailv1.RemoteWork, req *storev1.ClaimRequest, now, until int64) (*storev1.Claimed, error) {
	query, args := claimRows, []any{req.Owner, until, until, w.QueueId, w.Group, w.Generation, req.Owner, now}
	if req.Renew {
		query, args = renewRows, args[:7]
	}
	c := &storev1.Claimed{}
	rows, err := tx.Query(query, args...)
	var id sql.RawBytes
	err = eachRow(rows, err, func() error {
		r, err := scanRecipient(rows, &id)
		c.Recipients = append(c.Recipients, r)
		return err
	})
	c.Claimed = len(c.Recipients) > 0
	return c, err
}
