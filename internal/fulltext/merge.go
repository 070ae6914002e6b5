package fulltext

import (
	"fmt"
	"slices"

	"github.com/mailfarm/mailfarm/internal/mailbox"
)

// source is a segment that is being merged.
type source struct {
	seg   *Segment
	read  func(slice int) ([]byte, error)
	moved []int32 // the new numbers of documents; -1: it has left
	slice int
	lists lists
	ended bool
}

// advance goes to the next list.
func (s *source) advance() error {
	for {
		ok, err := s.lists.next()
		if err != nil {
			return fmt.Errorf("segment %d: %w", s.seg.ID, err)
		}
		if ok {
			return nil
		}
		if s.slice == 1<<s.seg.Bits {
			s.ended = true
			return nil
		}
		data, err := s.read(s.slice)
		if err != nil {
			return err
		}
		s.lists = s.seg.lists(s.slice, data)
		s.slice++
	}
}

// Merge makes one segment of several, without what has left them. read gives their slices, each once and in order. An email
// that several have is taken of the first.
func Merge(segments []*Segment, read func(id SegmentID, slice int) ([]byte, error)) (*Segment, error) {
	sources := make([]*source, len(segments))
	var octets int64
	type at struct {
		email mailbox.EmailID
		from  int
		doc   int
	}
	var all []at
	for i, seg := range segments {
		sources[i] = &source{seg: seg, read: func(slice int) ([]byte, error) { return read(seg.ID, slice) }, moved: make([]int32, len(seg.Emails))}
		octets += seg.Octets
		for doc, email := range seg.Emails {
			sources[i].moved[doc] = -1
			if !bitmap(seg.Dead).has(doc) {
				all = append(all, at{email, i, doc})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b at) int { return int(min(max(int64(a.email)-int64(b.email), -1), 1)) })
	all = slices.CompactFunc(all, func(a, b at) bool { return a.email == b.email })
	if len(all) > SegmentDocs {
		return nil, fmt.Errorf("merge %d emails: more than %d", len(all), SegmentDocs)
	}
	emails, always := make([]mailbox.EmailID, len(all)), newBitmap(len(all))
	for i, a := range all {
		emails[i] = a.email
		sources[a.from].moved[a.doc] = int32(i)
		if bitmap(segments[a.from].Always).has(a.doc) {
			always.set(i)
		}
	}
	b := newBuilder(emails, octets)
	if err := mergeLists(b, sources); err != nil {
		return nil, err
	}
	s := b.finish()
	s.Always = always
	return s, nil
}

func mergeLists(b *builder, sources []*source) error {
	for _, s := range sources {
		if err := s.advance(); err != nil {
			return err
		}
	}
	var list []uint16
	for {
		next, more := Token(1<<tokenBits), false
		for _, s := range sources {
			if !s.ended && s.lists.token <= next {
				next, more = s.lists.token, true
			}
		}
		if !more {
			return nil
		}
		list = list[:0]
		for _, s := range sources {
			if s.ended || s.lists.token != next {
				continue
			}
			err := s.lists.each(func(doc int) {
				if n := s.moved[doc]; n >= 0 {
					list = append(list, uint16(n))
				}
			})
			if err != nil {
				return fmt.Errorf("segment %d: %w", s.seg.ID, err)
			}
			if err := s.advance(); err != nil {
				return err
			}
		}
		if len(list) > 0 {
			slices.Sort(list)
			b.add(next, list)
		}
	}
}

// mergeable are segments that should be one: four of about the same size, or one of which much has left.
func mergeable(segments []*Segment) []*Segment {
	tiers := map[int][]*Segment{}
	for _, s := range segments {
		if s.Version != Version {
			continue
		}
		if live := s.Live(); live < len(s.Emails) && (len(s.Emails)-live)*16 >= len(s.Emails) {
			return []*Segment{s}
		}
		tier := 0
		for n := len(s.Emails); n >= 4; n /= 4 {
			tier++
		}
		tiers[tier] = append(tiers[tier], s)
	}
	for tier := range 6 {
		for group := range slices.Chunk(tiers[tier], 4) {
			docs, octets := 0, int64(0)
			for _, s := range group {
				docs, octets = docs+len(s.Emails), octets+s.Octets
			}
			if len(group) == 4 && docs <= SegmentDocs && octets <= segmentOctets {
				return group
			}
		}
	}
	return nil
}
