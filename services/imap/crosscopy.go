package imap

import (
	"context"
	"crypto/rand"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
	"github.com/mailfarm/mailfarm/services/imap/internal/wire"
)

// copyTo files messages in a mailbox of another account than the selected one's. The store makes the copies first, under the
// name of this operation, and a move expunges behind them: a call that is tried again makes nothing twice.
func (s *session) copyTo(uids wire.Set, to place, move bool) (code string, err error) {
	operation := make([]byte, 16)
	rand.Read(operation)
	var resp *storev1.CopyToResponse
	err = s.working(uids.Count(), func(ctx context.Context) (err error) {
		resp, err = s.svc.deps.Sharing.CopyTo(ctx, &storev1.CopyToRequest{
			Account: s.sel.owner(), Actor: uint64(s.account), Mailbox: uint64(s.sel.snap.ID), Uids: packUIDs(uids),
			TargetAccount: uint64(to.owner), Target: to.name, Operation: operation, Move: move,
		})
		return err
	})
	if err != nil {
		return "", copyError(err)
	}
	return copyUID(resp.GetUidValidity(), resp.GetSourceUids(), resp.GetTargetUids())
}
