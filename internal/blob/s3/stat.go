package s3

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// Stats is what this process has asked of the S3 server since it opened the store.
type Stats struct {
	// Messages is how many frames were answered as durable.
	Messages int64
	// Requests counts by verb: PUT, GET, HEAD, DELETE, POST, LIST.
	Requests map[string]int64
	// Errors is how many of them had no answer, or one of 500 and above.
	Errors int64
	// Sent and Received are octets.
	Sent, Received int64
}

// Stat tells what was asked of the server so far.
func (s *Store) Stat(ctx context.Context) (Stats, error) {
	if err := s.check(ctx); err != nil {
		return Stats{}, err
	}
	m := s.metrics
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.tally
	now.Requests = maps.Clone(now.Requests)
	return now, nil
}

// PerThousand is the number of requests for 1,000 messages; 0 before the first.
func (s Stats) PerThousand() float64 {
	if s.Messages == 0 {
		return 0
	}
	return float64(s.total()) * 1000 / float64(s.Messages)
}

func (s Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d messages, %.1f requests for 1,000 of them (", s.Messages, s.PerThousand())
	for i, verb := range slices.Sorted(maps.Keys(s.Requests)) {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %d", verb, s.Requests[verb])
	}
	fmt.Fprintf(&b, "; %d failed), %d octets sent, %d received", s.Errors, s.Sent, s.Received)
	return b.String()
}

// total is the number of requests of all verbs.
func (s Stats) total() (n int64) {
	for _, k := range s.Requests {
		n += k
	}
	return n
}

// ownTraffic is what a heartbeat tells of this process's traffic.
func (s *Store) ownTraffic() []byte {
	m := s.metrics
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &m.tally
	return append(record(askedMagic, uint64(t.Messages), uint64(t.total()), uint64(t.Errors)), record(movedMagic, uint64(t.Sent), uint64(t.Received), 0)...)
}

// Traffic reads the heartbeats of all incarnations that live: one listing, and one read for each. A process that has not
// given a sign of life yet is not counted.
func (s *Store) Traffic(ctx context.Context) (blob.Traffic, error) {
	sum, err := s.traffic(ctx)
	if err != nil {
		return blob.Traffic{}, fmt.Errorf("traffic of the blob store: %w", err)
	}
	return sum, nil
}

func (s *Store) traffic(ctx context.Context) (sum blob.Traffic, err error) {
	if err := s.check(ctx); err != nil {
		return sum, err
	}
	if err := s.roster.refresh(ctx); err != nil {
		return sum, err
	}
	for _, inc := range s.roster.snapshot() {
		if inc.ended {
			continue
		}
		b, err := s.bucket.get(ctx, claimKey(inc.id)+beatSuffix, 0, -1)
		if errors.Is(err, errMissing) {
			continue
		}
		if err != nil {
			return sum, err
		}
		if len(b) < 3*recordLen {
			continue
		}
		messages, requests, failed, err := parseRecord(b[recordLen:2*recordLen], askedMagic)
		if err != nil {
			return sum, err
		}
		sent, received, _, err := parseRecord(b[2*recordLen:3*recordLen], movedMagic)
		if err != nil {
			return sum, err
		}
		sum.Processes++
		sum.Messages, sum.Requests, sum.Errors = sum.Messages+int64(messages), sum.Requests+int64(requests), sum.Errors+int64(failed)
		sum.Sent, sum.Received = sum.Sent+int64(sent), sum.Received+int64(received)
	}
	return sum, nil
}
