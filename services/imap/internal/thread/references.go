package thread

import (
	"cmp"
	"slices"
)

// depthMax is how deep a thread may be: an answer to something deeper begins a thread of its own.
const depthMax = 1000

// References threads by ids, then joins threads of one base subject (RFC 5256 §3 REFERENCES).
func References(messages []Message) Threads {
	roots := link(messages)
	for _, n := range roots {
		sortBelow(n)
	}
	sortNodes(roots)
	roots = joinSubjects(roots)
	for _, n := range roots {
		sortBelow(n)
	}
	sortNodes(roots)
	return roots
}

// Refs threads by ids alone; threads are ordered by their latest message (draft-ietf-morg-inthread REFS).
func Refs(messages []Message) Threads {
	roots := link(messages)
	type dated struct {
		*node
		latest int64
	}
	list := make([]dated, len(roots))
	for i, n := range roots {
		sortBelow(n)
		list[i] = dated{n, n.latest()}
	}
	slices.SortFunc(list, func(a, b dated) int {
		return cmp.Or(cmp.Compare(a.latest, b.latest), cmp.Compare(a.first().Number, b.first().Number))
	})
	for i := range list {
		roots[i] = list[i].node
	}
	return roots
}

// latest is the greatest INTERNALDATE of the thread.
func (n *node) latest() int64 {
	latest := int64(-1 << 62)
	if n.message != nil {
		latest = n.message.Received
	}
	for _, c := range n.children {
		latest = max(latest, c.latest())
	}
	return latest
}

// sortBelow orders children by date, the innermost first, since a dummy counts by its first child.
func sortBelow(n *node) {
	for _, c := range n.children {
		sortBelow(c)
	}
	sortNodes(n.children)
}

// link does the steps 1 to 3: it gives the trees that the ids make, without dummies that are of no use.
func link(messages []Message) []*node {
	byID := make(map[uint64]*node, len(messages))
	all := make([]*node, 0, len(messages))
	of := func(id uint64) *node {
		n := byID[id]
		if n == nil {
			n = &node{}
			byID[id] = n
			all = append(all, n)
		}
		return n
	}
	for i := range messages {
		m := &messages[i]
		var n *node
		if m.ID != 0 {
			if n = of(m.ID); n.message != nil {
				n = nil // another has this id already: this one has none
			}
		}
		if n == nil {
			n = &node{}
			all = append(all, n)
		}
		n.message = m
		// The messages it refers to hang one below the other, where nothing is known that says otherwise.
		var before *node
		for _, id := range m.Refs {
			ref := of(id)
			if before != nil && ref.parent == nil && !ref.above(before) {
				ref.parent = before
			}
			before = ref
		}
		// What the message itself says of its parent counts.
		switch {
		case before == nil:
			n.parent = nil
		case before != n && !n.above(before):
			n.parent = before
		}
	}
	var roots []*node
	for _, n := range all {
		if n.parent != nil {
			n.parent.children = append(n.parent.children, n)
		} else {
			roots = append(roots, n)
		}
	}
	var kept []*node
	for _, n := range roots {
		prune(n)
		switch {
		case n.message != nil, len(n.children) > 1:
			kept = append(kept, n)
		case len(n.children) == 1:
			kept = append(kept, n.children[0])
		}
	}
	for _, n := range kept {
		n.parent = nil
	}
	return kept
}

// above tells whether n is other or one of the nodes above it; also where other is too deep for anything below it.
func (n *node) above(other *node) bool {
	for depth := 0; other != nil; other = other.parent {
		if other == n {
			return true
		}
		if depth++; depth > depthMax {
			return true
		}
	}
	return false
}

// prune takes out the dummies below n: those without children, and those whose children can take their place.
func prune(n *node) {
	var kept []*node
	for _, c := range n.children {
		prune(c)
		if c.message != nil {
			kept = append(kept, c)
		} else {
			kept = append(kept, c.children...)
		}
	}
	n.children = kept
}

// joinSubjects does step 5: it joins threads whose roots have one base subject.
func joinSubjects(roots []*node) []*node {
	table := make(map[string]*node, len(roots))
	for _, n := range roots {
		base := n.first().Base
		if base == "" {
			continue
		}
		t := table[base]
		if t == nil || t.message != nil && (n.message == nil || t.message.Reply && !n.message.Reply) {
			table[base] = n
		}
	}
	// joined are the roots of which something new was made: they stand where the table's node stood.
	joined := map[*node]*node{}
	gone := map[*node]bool{}
	for _, n := range roots {
		base := n.first().Base
		t := table[base]
		if base == "" || t == n {
			continue
		}
		gone[n] = true
		switch {
		case t.message == nil && n.message == nil:
			t.children = append(t.children, n.children...)
		case t.message == nil, n.message != nil && n.message.Reply && !t.message.Reply:
			t.children = append(t.children, n)
		default:
			dummy := &node{children: []*node{t, n}}
			joined[t] = dummy
			table[base] = dummy
		}
	}
	out := roots[:0]
	for _, n := range roots {
		switch d := joined[n]; {
		case gone[n]:
		case d != nil:
			out = append(out, d)
		default:
			out = append(out, n)
		}
	}
	return out
}
