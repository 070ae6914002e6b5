package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	"github.com/mailfarm/mailfarm/internal/message"
	"github.com/mailfarm/mailfarm/internal/obs"
)

// reindex makes the part index of an email anew where it has none or another version's, and keeps it. Where that fails
// the email stays as it is: its reader meets the same body, and the same failure, soon enough.
func (s *mailboxes) reindex(ctx context.Context, a mailbox.AccountID, e *index.Email) {
	if len(e.PartIndex) > 0 && e.PartIndex[0] == message.Version {
		return
	}
	err := s.makeIndex(ctx, e)
	if err == nil {
		s.metrics.reindexed.Inc()
		err = s.deps.Mailboxes.SetPartIndex(ctx, a, e.ID, e.PartIndex)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		s.deps.Log.WarnContext(ctx, "part index not remade", obs.Account(a), obs.Error(err))
	}
}

func (s *mailboxes) makeIndex(ctx context.Context, e *index.Email) error {
	f, err := s.deps.Blobs.Open(ctx, e.Blob)
	if err != nil {
		return fmt.Errorf("open body %s: %w", e.Blob, err)
	}
	defer f.Close()
	var x message.Indexer
	if _, err := io.CopyBuffer(&x, f.Reader(), make([]byte, bodyPiece)); err != nil {
		return fmt.Errorf("read body %s: %w", e.Blob, err)
	}
	ix, err := x.Finish()
	if err != nil {
		return fmt.Errorf("index body %s: %w", e.Blob, err)
	}
	e.PartIndex = ix.Encode(nil)
	return nil
}
