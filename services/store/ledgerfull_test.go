package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mailfarm/mailfarm/internal/ledger"
	"github.com/mailfarm/mailfarm/internal/reply"
)

// TestFullLedger shows that the router hears of a full disk as a peer would.
func TestFullLedger(t *testing.T) {
	err := ledgerError(fmt.Errorf("record 3 messages: %w: %w", ledger.ErrFull, errors.New("could not extend file")))
	if r := reply.Of(err); r.Code != 452 || r.Enhanced != "4.3.1" || r.Text != "insufficient storage" || !errors.Is(err, ledger.ErrFull) {
		t.Errorf("got %v of %v", r, err)
	}
}
