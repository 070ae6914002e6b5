// Package trace carries what happens to messages to whoever follows them: batches per stage on the bus.
//
// It is for people and history. Nothing depends on it, so an event that finds no room is dropped and counted.
package trace

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/envelope"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

const (
	// room is how many events may wait.
	room = 16384
	// batchEvents and batchTime bound one batch: a stored publish costs more than many events.
	batchEvents = 512
	batchTime   = 5 * time.Millisecond
)

// Publisher takes batches; bus.Conn is one.
type Publisher interface {
	Notify(subject string, payload []byte) error
}

// Emitter gathers the events of a process. It is an obs.Tracer.
type Emitter struct {
	pub     Publisher
	host    string
	events  chan *mailv1.TraceEvent
	dropped atomic.Uint64
}

// New makes an emitter that signs events with host. Run sends them.
func New(pub Publisher, host string) *Emitter {
	return &Emitter{pub: pub, host: host, events: make(chan *mailv1.TraceEvent, room)}
}

// Emit takes an event, which must not be changed afterwards. It never blocks.
func (e *Emitter) Emit(ev *mailv1.TraceEvent) {
	if ev.TimeNs == 0 {
		ev.TimeNs = time.Now().UnixNano()
	}
	ev.Host = e.host
	select {
	case e.events <- ev:
	default:
		e.dropped.Add(1)
	}
}

// Dropped counts events that found no room.
func (e *Emitter) Dropped() uint64 { return e.dropped.Load() }

// Run sends batches until ctx ends, and then what still waits.
func (e *Emitter) Run(ctx context.Context) error {
	tick := time.NewTimer(batchTime)
	defer tick.Stop()
	var batch []*mailv1.TraceEvent
	for {
		select {
		case ev := <-e.events:
			if len(batch) == 0 {
				tick.Reset(batchTime)
			}
			if batch = append(batch, ev); len(batch) < batchEvents {
				continue
			}
		case <-tick.C:
		case <-ctx.Done():
			e.send(append(batch, e.rest()...))
			return nil
		}
		e.send(batch)
		batch = batch[:0]
	}
}

func (e *Emitter) rest() (events []*mailv1.TraceEvent) {
	for {
		select {
		case ev := <-e.events:
			events = append(events, ev)
		default:
			return events
		}
	}
}

func (e *Emitter) send(events []*mailv1.TraceEvent) {
	if len(events) == 0 {
		return
	}
	byStage := map[string]*mailv1.TraceBatch{}
	for _, ev := range events {
		b := byStage[ev.Stage]
		if b == nil {
			b = &mailv1.TraceBatch{}
			byStage[ev.Stage] = b
		}
		b.Events = append(b.Events, ev)
		e.follow(ev)
	}
	for stage, b := range byStage {
		payload, err := proto.Marshal(b)
		if err == nil {
			err = e.pub.Notify(bus.Trace(stage), payload)
		}
		if err != nil {
			e.dropped.Add(uint64(len(b.Events)))
		}
	}
}

// follow tells those who follow this one message.
func (e *Emitter) follow(ev *mailv1.TraceEvent) {
	id, err := envelope.QueueIDFrom(ev.QueueId)
	if err != nil {
		return // a connection without a message
	}
	if payload, err := proto.Marshal(ev); err == nil {
		e.pub.Notify(bus.Follow(id.String()), payload)
	}
}
