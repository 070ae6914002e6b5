package compose

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// load sends letters until it is stopped, by both ways in. A letter that is not accepted is tried again under another name:
// who got no answer cannot know whether it arrived.
type load struct {
	mu       sync.Mutex
	accepted []string
	refused  int
	last     error

	quit chan struct{}
	done sync.WaitGroup
}

// pause between two letters of one sender: the load shall outlast the faults, not fill the machine.
const pause = 50 * time.Millisecond

func startLoad(t *testing.T, prefix string, senders map[string]func(name string) error) *load {
	l := &load{quit: make(chan struct{})}
	for way, send := range senders {
		l.done.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-l.quit:
					return
				case <-time.After(pause):
				}
				name := fmt.Sprintf("%s-%s-%d", prefix, way, i)
				err := send(name)
				l.mu.Lock()
				if err == nil {
					l.accepted = append(l.accepted, name)
				} else {
					l.refused++
					l.last = err
				}
				l.mu.Unlock()
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

// stop ends the load once the letters under way have their answers.
func (l *load) stop() {
	l.mu.Lock()
	select {
	case <-l.quit:
	default:
		close(l.quit)
	}
	l.mu.Unlock()
	l.done.Wait()
}

// count is how many letters have been accepted, and how many not, with the last reason.
func (l *load) count() (accepted, refused int, last error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accepted), l.refused, l.last
}
