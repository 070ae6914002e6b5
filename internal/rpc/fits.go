package rpc

import "google.golang.org/protobuf/proto"

// SizeOf is how much a message adds to a call that has a list of such, octets.
func SizeOf(m proto.Message) int {
	const tagAndLength = 8
	return proto.Size(m) + tagAndLength
}

// Fits tells how many of the first messages stay within most octets together: one at least, if there is one.
func Fits[M proto.Message](messages []M, most int) int {
	size := 0
	for i, m := range messages {
		if size += SizeOf(m); size > most && i > 0 {
			return i
		}
	}
	return len(messages)
}
