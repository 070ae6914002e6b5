package mailbox

import (
	"sync"
	"time"
)

// IDs makes ids that ascend within this process: no two of them are alike, however many are made within a millisecond, and rows
// keyed by them are added at the end of their table. The zero value is ready; it may be used by many goroutines.
type IDs struct {
	mu   sync.Mutex
	last uint64 // guarded by mu
}

// Next makes an id as NewID does, above all that were made before.
func (s *IDs) Next(now time.Time) uint64 {
	id := NewID(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(id, s.last+1)
	return s.last
}
