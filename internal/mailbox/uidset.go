package mailbox

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"
	"sort"
)

// UIDRange is a run of UIDs, both ends included.
type UIDRange struct{ First, Last UID }

// UIDSet is a set of UIDs as ranges that ascend and neither touch nor overlap; nil is the empty set. 1:* is one range,
// 1 to MaxUID, so its size follows the ranges and not the UIDs: never expand one that a client gave.
//
// All of the contracts' "packed UIDs" are UIDSets, Chunk.uids among them: a list of UIDs that ascend strictly is the set
// of its members, and two that pair up (COPYUID) pair in ascending order.
type UIDSet []UIDRange

// MaxUID is the greatest UID there can be.
const MaxUID UID = math.MaxUint32

// NewUIDSet makes a set of ranges in any order; an end may come before its begin (RFC 9051 §9, seq-range). UID 0 is left out.
func NewUIDSet(ranges ...UIDRange) UIDSet {
	sorted := make([]UIDRange, 0, len(ranges))
	for _, r := range ranges {
		if r.First > r.Last {
			r.First, r.Last = r.Last, r.First
		}
		if r.First = max(r.First, 1); r.First <= r.Last {
			sorted = append(sorted, r)
		}
	}
	slices.SortFunc(sorted, func(a, b UIDRange) int {
		switch {
		case a.First < b.First:
			return -1
		case a.First > b.First:
			return 1
		}
		return 0
	})
	var s UIDSet
	for _, r := range sorted {
		s = s.Append(r.First, r.Last)
	}
	return s
}

// Append adds first to last behind or at the end of s and returns the set; first must not come before the begin of s's
// last range.
func (s UIDSet) Append(first, last UID) UIDSet {
	if n := len(s); n > 0 && uint64(first) <= uint64(s[n-1].Last)+1 {
		s[n-1].Last = max(s[n-1].Last, last)
		return s
	}
	return append(s, UIDRange{first, last})
}

// Add adds one UID, greater than all in s.
func (s UIDSet) Add(uid UID) UIDSet { return s.Append(uid, uid) }

// Contains tells whether uid is in the set.
func (s UIDSet) Contains(uid UID) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].Last >= uid })
	return i < len(s) && s[i].First <= uid
}

// Len is how many UIDs the set has.
func (s UIDSet) Len() uint64 {
	var n uint64
	for _, r := range s {
		n += uint64(r.Last-r.First) + 1
	}
	return n
}

// All yields the UIDs in ascending order. Of a set that a client gave there may be 2^32.
func (s UIDSet) All() iter.Seq[UID] {
	return func(yield func(UID) bool) {
		for _, r := range s {
			for uid := r.First; ; uid++ {
				if !yield(uid) {
					return
				}
				if uid == r.Last {
					break
				}
			}
		}
	}
}

// Overlapping is the part of the set's ranges that has a UID from first to last; it shares s's memory and its ranges are not cut.
func (s UIDSet) Overlapping(first, last UID) UIDSet {
	i := sort.Search(len(s), func(i int) bool { return s[i].Last >= first })
	j := sort.Search(len(s), func(j int) bool { return s[j].First > last })
	if i >= j {
		return nil
	}
	return s[i:j]
}

// AppendUIDSet packs a set behind b: for every range the uvarint of its first UID less the last one of the range before
// (0 before the first range), then the uvarint of its last UID less its first.
func AppendUIDSet(b []byte, s UIDSet) []byte {
	var last UID
	for _, r := range s {
		b = binary.AppendUvarint(b, uint64(r.First-last))
		b = binary.AppendUvarint(b, uint64(r.Last-r.First))
		last = r.Last
	}
	return b
}

// DecodeUIDSet unpacks a set; it takes no more memory than 8 times the octets of b. ErrColumn, also for UID 0 and for UIDs above MaxUID.
func DecodeUIDSet(b []byte) (UIDSet, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var s UIDSet
	err := eachRange(b, func(first, last UID) error {
		s = s.Append(first, last)
		return nil
	})
	return s, err
}

// AppendUIDs packs UIDs that ascend strictly behind b, as AppendUIDSet packs the set of them.
func AppendUIDs(b []byte, uids []UID) []byte {
	var last UID
	for i := 0; i < len(uids); {
		n := 1
		for i+n < len(uids) && uids[i+n] == uids[i]+UID(n) {
			n++
		}
		b = binary.AppendUvarint(b, uint64(uids[i]-last))
		b = binary.AppendUvarint(b, uint64(n-1))
		last = uids[i+n-1]
		i += n
	}
	return b
}

// DecodeUIDs unpacks at most limit UIDs behind dst. ErrColumn, also where there are more.
func DecodeUIDs(dst []UID, b []byte, limit int) ([]UID, error) {
	err := eachRange(b, func(first, last UID) error {
		if uint64(last-first) >= uint64(max(limit, 0)) {
			return fmt.Errorf("uids: %w: too many", ErrColumn)
		}
		limit -= int(last-first) + 1
		for i := range last - first + 1 {
			dst = append(dst, first+i)
		}
		return nil
	})
	return dst, err
}

// eachRange reads ranges as AppendUIDSet wrote them; neighbours may touch.
func eachRange(b []byte, each func(first, last UID) error) error {
	var last uint64
	for len(b) > 0 {
		step, used := binary.Uvarint(b)
		if used <= 0 || step == 0 || step > uint64(MaxUID)-last {
			return fmt.Errorf("uids: %w", ErrColumn)
		}
		first := last + step
		length, used2 := binary.Uvarint(b[used:])
		if used2 <= 0 || length > uint64(MaxUID)-first {
			return fmt.Errorf("uids: %w", ErrColumn)
		}
		b = b[used+used2:]
		last = first + length
		if err := each(UID(first), UID(last)); err != nil {
			return err
		}
	}
	return nil
}
