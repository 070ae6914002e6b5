package blob

import "context"

// Traffic is what processes have asked of an object store since they opened it.
type Traffic struct {
	// Processes is how many tell of it: those that live.
	Processes int
	// Messages is how many frames were answered as durable.
	Messages int64
	// Requests is how many were made; Errors of them had no answer, or one that was the server's fault.
	Requests, Errors int64
	// Sent and Received are octets.
	Sent, Received int64
}

// Meter is a Store that counts its traffic.
type Meter interface {
	// Traffic adds up what all processes that live have told of themselves, some seconds ago.
	Traffic(ctx context.Context) (Traffic, error)
}
