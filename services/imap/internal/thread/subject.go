package thread

import (
	"cmp"
	"slices"
)

// OrderedSubject makes a thread of all messages with one base subject: the first by sent date, and the others as its children
// (RFC 5256 §3 ORDEREDSUBJECT). It orders messages.
func OrderedSubject(messages []Message) Threads {
	slices.SortFunc(messages, func(a, b Message) int {
		return cmp.Or(cmp.Compare(a.Base, b.Base), cmp.Compare(a.Sent, b.Sent), cmp.Compare(a.Number, b.Number))
	})
	var threads Threads
	for i := range messages {
		m := &messages[i]
		n := &node{message: m}
		if k := len(threads); k > 0 && threads[k-1].message.Base == m.Base {
			threads[k-1].children = append(threads[k-1].children, n)
			continue
		}
		threads = append(threads, n)
	}
	sortNodes(threads)
	return threads
}

func sortNodes(nodes []*node) {
	slices.SortFunc(nodes, func(a, b *node) int {
		sentA, a1 := a.date()
		sentB, b1 := b.date()
		return cmp.Or(cmp.Compare(sentA, sentB), cmp.Compare(a1, b1))
	})
}
