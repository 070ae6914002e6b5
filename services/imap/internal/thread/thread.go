// Package thread groups messages into threads (RFC 5256 §3, draft-ietf-morg-inthread). It knows of each message what is given
// to it, and makes trees of them.
package thread

import (
	"strconv"
)

// Message is what is told of a message.
type Message struct {
	// Number is what the response names it by.
	Number uint32
	// Sent is the sent date, Received INTERNALDATE: seconds since 1970.
	Sent, Received int64
	// ID stands for the message id, 0 for none; Refs for the messages that it refers to, the nearest last.
	ID   uint64
	Refs []uint64
	// Base is the base subject, and Reply tells that the subject says reply or forward.
	Base  string
	Reply bool
}

// node is a message in a thread, or a dummy for one that is not there.
type node struct {
	message  *Message // nil for a dummy
	parent   *node
	children []*node
}

// date is what siblings are ordered by: a dummy counts by its first child (RFC 5256 §3 step 4).
func (n *node) date() (int64, uint32) {
	m := n.first()
	return m.Sent, m.Number
}

// first is the node's message, or that of its first child.
func (n *node) first() *Message {
	for n.message == nil {
		n = n.children[0]
	}
	return n.message
}

// Threads are trees in their order.
type Threads []*node

// AppendTo appends the threads as THREAD tells them (RFC 5256 §4 thread-list). give is called with what there is now and then, and
// gives back room to go on.
func (t Threads) AppendTo(b []byte, give func([]byte) []byte) []byte {
	for _, n := range t {
		b = append(b, '(')
		b = n.append(b)
		b = append(b, ')')
		if len(b) > 4<<10 {
			b = give(b)
		}
	}
	return b
}

// append writes a node and what is below it, without the parentheses around both.
func (n *node) append(b []byte) []byte {
	for {
		if n.message != nil {
			b = strconv.AppendUint(b, uint64(n.message.Number), 10)
		}
		if len(n.children) != 1 {
			break
		}
		if n.message != nil {
			b = append(b, ' ')
		}
		n = n.children[0]
	}
	if len(n.children) > 0 && n.message != nil {
		b = append(b, ' ')
	}
	for _, c := range n.children {
		b = append(b, '(')
		b = c.append(b)
		b = append(b, ')')
	}
	return b
}
