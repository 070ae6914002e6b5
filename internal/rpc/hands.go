package rpc

import "context"

// handsMax is how many goroutines wait for the next call at most; more than the machine can run at once are no use.
const handsMax = 64

// hands are the goroutines that calls within the process are handled in. One that has ended its call waits for another: its
// stack has grown to what handlers need, which costs a new goroutine as much as a query of the database.
type hands struct {
	calls  chan func()
	idle   chan struct{} // one element for each that waits, or is about to
	closed context.Context
}

func newHands(closed context.Context) *hands {
	return &hands{calls: make(chan func()), idle: make(chan struct{}, handsMax), closed: closed}
}

// run handles a call in a goroutine of its own.
func (h *hands) run(call func()) {
	select {
	case h.calls <- call:
	default:
		go h.work(call)
	}
}

func (h *hands) work(call func()) {
	for {
		call()
		call = nil
		select {
		case h.idle <- struct{}{}:
		default:
			return // enough wait
		}
		select {
		case call = <-h.calls:
			<-h.idle
		case <-h.closed.Done():
			return
		}
	}
}
