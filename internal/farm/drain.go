package farm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailfarm/mailfarm/internal/run"
)

// DrainConfig says how a process ends when it is told to, by SIGTERM or `mailfarm drain`: readiness goes off at once.
type DrainConfig struct {
	// Delay is how long the fronts still serve as before, so that load balancers notice first. Default 0s.
	Delay time.Duration `yaml:"delay"`
	// Timeout is how long dialogues may take to end then, where a front's own drain says nothing else: messages that are
	// arriving, commands in progress. Default 4s for all roles in one process, and 30s for roles apart.
	Timeout time.Duration `yaml:"timeout"`

	unset [4]bool // whose own drain says nothing, in the order of Config.drains
}

// Timeouts of a drain.
const (
	wholeDrain = 4 * time.Second
	apartDrain = 30 * time.Second
	// lastWords is how long what is cut at the end of a drain may take.
	lastWords = time.Second
)

// drains are the fronts' own.
func (c *Config) drains() [4]*time.Duration {
	return [4]*time.Duration{&c.Ingress.Drain, &c.Submission.Drain, &c.IMAP.Drain, &c.POP3.Drain}
}

// noteDrains notes what is not set, before the fronts' defaults.
func (c *Config) noteDrains() {
	for i, d := range c.drains() {
		c.Drain.unset[i] = c.Drain.unset[i] || *d == 0
	}
}

// fitDrains gives the fronts what the shape has for default, and returns the longest.
func (c *Config) fitDrains(s Shape) (longest time.Duration) {
	timeout := c.Drain.Timeout
	switch {
	case timeout == 0 && s.alone():
		timeout = wholeDrain
	case timeout == 0:
		timeout = apartDrain
	}
	for i, d := range c.drains() {
		if c.Drain.unset[i] {
			*d = timeout
		}
		longest = max(longest, *d)
	}
	return longest
}

func (d DrainConfig) validate() error {
	var faults []error
	if d.Delay < 0 {
		faults = append(faults, fmt.Errorf("delay: %v is negative", d.Delay))
	}
	if d.Timeout < 0 {
		faults = append(faults, fmt.Errorf("timeout: %v is negative", d.Timeout))
	}
	return errors.Join(faults...)
}

// drain is the end of a process: told, then stopping, then drained.
type drain struct {
	told    context.Context
	tell    context.CancelFunc
	drained chan struct{}         // closed when all but what operators reach has stopped
	fronts  map[string]func() int // sessions of each front
}

func newDrain() drain {
	d := drain{drained: make(chan struct{}), fronts: map[string]func() int{}}
	d.told, d.tell = context.WithCancel(context.Background())
	return d
}

// Drain tells the process to end, as SIGTERM does.
func (f *Farm) Drain() { f.drain.tell() }

// Drained is closed when no dialogue and no work is left.
func (f *Farm) Drained() <-chan struct{} { return f.drain.drained }

// Sessions are the dialogues that there are, by front.
func (f *Farm) Sessions() map[string]int {
	n := map[string]int{}
	for name, sessions := range f.drain.fronts {
		n[name] = sessions()
	}
	return n
}

// stopping ends when ctx has ended, or the process was told to drain, and the delay is over since.
func (f *Farm) stopping(ctx context.Context) (stopping context.Context, release func()) {
	stopping, stop := context.WithCancel(context.WithoutCancel(ctx))
	told := context.AfterFunc(ctx, f.drain.tell)
	begin := context.AfterFunc(f.drain.told, func() {
		if f.health != nil {
			f.health.Drain()
		}
		f.log.Info("draining", "delay", f.cfg.Drain.Delay)
		delay := time.NewTimer(f.cfg.Drain.Delay)
		defer delay.Stop()
		select {
		case <-delay.C:
			stop()
		case <-stopping.Done():
		}
	})
	return stopping, func() { told(); begin(); stop() }
}

// lastPart stops with what operators reach, behind all others.
func (f *Farm) lastPart() run.Part {
	return run.Part{Name: "drain", Run: func(ctx context.Context) error {
		<-ctx.Done()
		close(f.drain.drained)
		return nil
	}}
}
