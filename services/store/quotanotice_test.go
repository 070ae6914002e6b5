package store

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob/dir"
	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// failingQuotas has notices of accounts 1 to 100, the oldest first, and fails at the first ones.
type failingQuotas struct {
	index.Quotas
	failing mailbox.AccountID
	told    map[mailbox.AccountID]bool
	tries   int
}

var errDamaged = errors.New("damaged")

func (f *failingQuotas) QuotaNotices(_ context.Context, limit int) (list []index.QuotaNotice, err error) {
	for id := mailbox.AccountID(1); id <= 100 && len(list) < limit; id++ {
		if !f.told[id] {
			list = append(list, index.QuotaNotice{AccountQuota: index.AccountQuota{Account: id}})
		}
	}
	return list, nil
}

func (f *failingQuotas) TellQuota(_ context.Context, n index.QuotaNotice, _ index.Message) (index.AppendResult, bool, error) {
	if f.tries++; n.Account <= f.failing {
		return index.AppendResult{}, false, errDamaged
	}
	f.told[n.Account] = true
	return index.AppendResult{}, false, nil
}

func TestQuotaNoticesPassOver(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	blobs := must(dir.Open(t.Context(), t.TempDir(), dir.Options{Log: log}))
	defer blobs.Close()
	for _, tt := range []struct {
		failing     mailbox.AccountID
		told, tries int
	}{{3, 97, 100}, {100, 0, maxFailures}} {
		q := &failingQuotas{failing: tt.failing, told: map[mailbox.AccountID]bool{}}
		n := &notifier{Service: &Service{deps: Deps{Quotas: q, Blobs: blobs, Now: time.Now, Log: log}}, hostname: "mx.example.org"}
		if more, err := n.step(t.Context()); more || !errors.Is(err, errDamaged) || len(q.told) != tt.told || q.tries != tt.tries {
			t.Errorf("%d fail: more %v, %v; %d are told after %d tries, want %d, %d", tt.failing, more, err, len(q.told), q.tries, tt.told, tt.tries)
		}
	}
}
