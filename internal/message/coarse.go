package message

// Coarse tells whether the limits left something of the message's structure out: parts deeper than MaxDepth, or more than
// MaxParts.
func (ix *Index) Coarse() bool {
	if len(ix.parts) < MaxDepth {
		return false
	}
	coarse := len(ix.parts) >= MaxParts
	ix.EachPart(func(depth int, p *Part) {
		coarse = coarse || p.mayHoldMore(depth)
	})
	return coarse
}

// Unopened tells of a part at a depth, as EachPart gives it, that what it holds may have been left out: an Indexer finds it
// that is given the part as a message of its own.
func (ix *Index) Unopened(depth int, p *Part) bool { return p.mayHoldMore(depth) }

// mayHoldMore: who nests deeper is told as application/octet-stream; see Indexer.endHeader.
func (p *Part) mayHoldMore(depth int) bool {
	return depth >= MaxDepth && p.Kind == Leaf && p.Is("application", "octet-stream")
}

// EachPart calls f with every part in the order of the message, and how deep it lies: the message itself at 1.
func (ix *Index) EachPart(f func(depth int, p *Part)) {
	var ends []int32
	for i := range ix.parts {
		for len(ends) > 0 && int32(i) >= ends[len(ends)-1] {
			ends = ends[:len(ends)-1]
		}
		ends = append(ends, ix.parts[i].end)
		f(len(ends), &ix.parts[i])
	}
}
