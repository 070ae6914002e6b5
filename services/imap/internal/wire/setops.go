package wire

// Intersect is what two resolved sets share.
func (s Set) Intersect(o Set) Set {
	var out Set
	for i, k := 0, 0; i < len(s) && k < len(o); {
		first, last := max(s[i].First, o[k].First), min(s[i].Last, o[k].Last)
		if first <= last {
			out = append(out, Range{first, last})
		}
		if s[i].Last < o[k].Last {
			i++
		} else {
			k++
		}
	}
	return out
}

// Less is a resolved set without what another holds.
func (s Set) Less(o Set) Set {
	var out Set
	k := 0
	for _, r := range s {
		first := r.First
		for k < len(o) && o[k].Last < first {
			k++
		}
		for i := k; i < len(o) && o[i].First <= r.Last; i++ {
			if o[i].First > first {
				out = append(out, Range{first, o[i].First - 1})
			}
			// Behind the largest number there is none to go on with.
			if first = o[i].Last + 1; first == 0 {
				return out
			}
		}
		if first <= r.Last {
			out = append(out, Range{first, r.Last})
		}
	}
	return out
}

// Slice is the first-th to last-th number of a resolved set, counted from 1.
func (s Set) Slice(first, last uint64) Set {
	var out Set
	var before uint64
	for _, r := range s {
		n := uint64(r.Last-r.First) + 1
		lo, hi := max(first, before+1), min(last, before+n)
		if lo <= hi {
			out = append(out, Range{r.First + uint32(lo-before-1), r.First + uint32(hi-before-1)})
		}
		before += n
	}
	return out
}
