package dir

import (
	"bytes"
	"context"
	"fmt"

	"github.com/mailfarm/mailfarm/internal/blob"
	"github.com/mailfarm/mailfarm/internal/blob/frame"
)

// Scan reads headers and trailers, not bodies. Behind a damaged frame whose header is sound it goes on by its length,
// else with the next header that bears the incarnation's salt.
func (s *Store) Scan(ctx context.Context, from blob.Position, each func(blob.Scanned) error) (blob.Position, error) {
	inc := s.byID[from.Incarnation]
	if inc == nil {
		return from, fmt.Errorf("scan incarnation %d: %w", from.Incarnation, blob.ErrNotFound)
	}
	if inc == s.self && !s.begun.Load() {
		return from, nil
	}
	at, err := s.walk(ctx, inc, end{segment: from.Segment, offset: from.Offset}, s.endOf(inc),
		func(segment frame.SegmentHeader, m *met) error { return each(scanned(inc, segment, m)) })
	return blob.Position{Incarnation: inc.id, Segment: at.segment, Offset: at.offset}, err
}

// endOf is where an incarnation ends, for now if it is this process's.
func (s *Store) endOf(inc *incarnation) end {
	if inc == s.self {
		return unpack(s.durable.Load())
	}
	return inc.end
}

func scanned(inc *incarnation, segment frame.SegmentHeader, m *met) blob.Scanned {
	found := blob.Scanned{
		ID:      blob.ID{Incarnation: inc.id, Segment: m.segment, Offset: uint32(m.off), Length: uint32(m.next - m.off)},
		Written: segment.Started,
		Err:     m.err,
	}
	if m.err != nil && m.sound {
		found.Meta = blob.Meta{Kind: m.header.Kind, QueueID: m.header.QueueID}
	}
	if m.err == nil {
		found.Meta = blob.Meta{Kind: m.header.Kind, QueueID: m.header.QueueID, Tail: bytes.Clone(m.trailer.Tail)}
		found.Size = m.trailer.Size
		found.Origin, found.Owner = m.header.Origin, m.header.Owner
		if m.header.Place == frame.Apart {
			found.Apart = m.header.Stored
		}
	}
	return found
}
