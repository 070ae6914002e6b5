package unit

import (
	"sync"
	"time"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// idSource makes ids that ascend within this process, so that rows keyed by them are added at the end of their table.
type idSource struct {
	mu   sync.Mutex // guards last
	last uint64
}

func (s *idSource) next(now time.Time) uint64 {
	id := mailbox.NewID(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(id, s.last+1)
	return s.last
}
