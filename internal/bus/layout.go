package bus

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/mailfarm/mailfarm/internal/obs"
)

// layout is into how many partitions work is divided. On servers that several processes share it stands in the streams'
// metadata, so that all of them go by the same numbers, whatever their configuration says, and learn of a change in seconds.
type layout struct {
	// publish is how many partitions are published to.
	publish int
	// served is how many are taken from: it never falls, so that nothing is left behind in a partition that is given up.
	served int
}

// Keys of a stream's metadata.
const (
	publishKey = "mailfarm.partitions"
	servedKey  = "mailfarm.served"
	// limitsKey holds what else of the configuration the stream was made with.
	limitsKey = "mailfarm.limits"
)

// layoutTime is how often a process looks at the layout.
const layoutTime = 2 * time.Second

func layoutOf(metadata map[string]string) layout {
	number := func(key string) int {
		n, err := strconv.Atoi(metadata[key])
		if err != nil || n < 1 || n > maxPartitions {
			return 0
		}
		return n
	}
	l := layout{publish: number(publishKey), served: number(servedKey)}
	l.served = max(l.served, l.publish)
	return l
}

// shared tells that the bus is others' too: one of them at a time sets it up, by Maintain.
func (c *Conn) shared() bool { return len(c.cfg.Servers) > 0 }

// partitions are the layout as this process knows it.
func (c *Conn) partitions() layout {
	if l := c.layout.Load(); l != nil {
		return *l
	}
	return layout{publish: c.cfg.Partitions, served: c.cfg.Partitions}
}

// watch follows the layout, and looks whether the streams take work, until ctx ends.
func (c *Conn) watch(ctx context.Context) {
	for told := false; ; {
		err := c.look(ctx)
		if err != nil {
			c.failures.Add(1)
		}
		if probed := c.Probe(ctx); err == nil {
			err = probed
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !told:
			c.log.WarnContext(ctx, "bus takes no work now", obs.Error(err))
		case err == nil && told:
			c.log.InfoContext(ctx, "bus takes work again")
		}
		told = err != nil
		if !sleep(ctx, layoutTime) {
			return
		}
	}
}

// look reads the layout.
func (c *Conn) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	st, err := c.js.Stream(ctx, streamName(WorkSubjects[0]))
	if err != nil {
		return away(fmt.Errorf("look at the bus: %w", err))
	}
	if l := layoutOf(st.CachedInfo().Config.Metadata); l.publish > 0 {
		if old := c.partitions(); old != l && c.layout.Load() != nil {
			c.log.InfoContext(ctx, "bus has other partitions", "partitions", l.publish, "served", l.served)
		}
		c.layout.Store(&l)
	}
	return nil
}

// Maintain makes streams and consumers that are not there, as after a bus was wiped, and changes those that are not as
// configured. Of the processes that share a bus one at a time calls it, now and then.
func (c *Conn) Maintain(ctx context.Context) error {
	if err := c.complete(ctx); err == nil {
		return nil
	}
	if err := c.setUp(ctx); err != nil {
		return away(err)
	}
	return c.look(ctx)
}

// complete tells what is missing or not as configured.
func (c *Conn) complete(ctx context.Context) error {
	for _, want := range c.streams(c.partitions()) {
		st, err := c.js.Stream(ctx, want.Name)
		if err != nil {
			return err
		}
		have := st.CachedInfo()
		if have.Config.Metadata[limitsKey] != want.Metadata[limitsKey] || have.Config.Metadata[publishKey] != want.Metadata[publishKey] {
			return fmt.Errorf("stream %s is not as configured", want.Name)
		}
		if want.Metadata[publishKey] != "" && have.State.Consumers < layoutOf(have.Config.Metadata).served {
			return fmt.Errorf("stream %s lacks consumers", want.Name)
		}
	}
	return nil
}

// served is how many partitions are to be made: those configured, and those that another layout had before.
func (c *Conn) served(ctx context.Context) (int, error) {
	st, err := c.js.Stream(ctx, streamName(WorkSubjects[0]))
	if err != nil {
		if isNotFound(err) {
			return c.cfg.Partitions, nil
		}
		return 0, err
	}
	return max(c.cfg.Partitions, layoutOf(st.CachedInfo().Config.Metadata).served), nil
}

// withMetadata marks a stream's configuration with what Maintain compares.
func (c *Conn) withMetadata(s jetstream.StreamConfig, l *layout) jetstream.StreamConfig {
	s.Metadata = map[string]string{limitsKey: fmt.Sprintf("%d replicas, %v, %d octets", s.Replicas, s.MaxAge, s.MaxBytes)}
	if l != nil {
		s.Metadata[publishKey] = strconv.Itoa(l.publish)
		s.Metadata[servedKey] = strconv.Itoa(l.served)
		s.Metadata[limitsKey] += fmt.Sprintf(", ack %v, %d pending", c.cfg.AckWait, c.cfg.MaxAckPending)
	}
	return s
}
