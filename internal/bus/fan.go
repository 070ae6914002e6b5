package bus

import (
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
)

// fanAhead is how many notices a Fan may be behind; what comes beyond is lost.
const fanAhead = 65536

// Fan hears notices on many subjects in one goroutine, for who listens to thousands: Conn.Listen has one for each. It is there
// while somebody listens.
type Fan struct {
	conn *Conn

	mu    sync.Mutex
	heard map[*nats.Subscription]func(payload []byte) // guarded by mu
	msgs  chan *nats.Msg                              // of the goroutine; guarded by mu
	end   chan struct{}                               // ends it; guarded by mu
}

// NewFan makes a Fan that listens to nothing.
func (c *Conn) NewFan() *Fan { return &Fan{conn: c, heard: map[*nats.Subscription]func([]byte){}} }

// Listen calls hear for each notice on subject until the returned function is called, and perhaps once while it returns. All
// that the Fan hears comes one at a time: hear must not block.
func (f *Fan) Listen(subject string, hear func(payload []byte)) (stop func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.heard) == 0 {
		f.msgs, f.end = make(chan *nats.Msg, fanAhead), make(chan struct{})
		go f.run(f.msgs, f.end)
	}
	sub, err := f.conn.nc.ChanSubscribe(subject, f.msgs)
	if err != nil {
		f.endIfIdle()
		return nil, away(fmt.Errorf("listen to %s: %w", subject, err))
	}
	f.heard[sub] = hear
	return sync.OnceFunc(func() {
		sub.Unsubscribe()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.heard, sub)
		f.endIfIdle()
	}), nil
}

// endIfIdle ends the goroutine that nobody needs; mu is held.
func (f *Fan) endIfIdle() {
	if len(f.heard) == 0 {
		close(f.end)
		f.msgs, f.end = nil, nil
	}
}

func (f *Fan) run(msgs <-chan *nats.Msg, end <-chan struct{}) {
	for {
		select {
		case m := <-msgs:
			f.mu.Lock()
			hear := f.heard[m.Sub]
			f.mu.Unlock()
			if hear != nil {
				hear(m.Data)
			}
		case <-end:
			return
		}
	}
}
