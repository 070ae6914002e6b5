// Package trace carries what happens to messages to whoever follows them: batches per stage on the bus.
//
// It is for people and history. Nothing depends on it, so an event that finds no room is dropped and counted.
package trace

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
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
	// batchBytes bounds one publish, octets: below what every NATS server takes (1 MiB by default).
	batchBytes = 256 << 10
	// maxText bounds each text of an event, octets. Some of it is what a peer said.
	maxText = 1024
)

// Publisher takes batches, and keeps nothing of a payload; bus.Conn is one.
type Publisher interface {
	Notify(subject string, payload []byte) error
}

// Emitter gathers the events of a process. It is an obs.Tracer.
type Emitter struct {
	pub     Publisher
	host    string
	events  chan *mailv1.TraceEvent
	ended   atomic.Bool
	dropped atomic.Uint64

	// What follows only Run uses.
	parcels map[string]*parcel
	buf     []byte
}

// New makes an emitter that signs events with host. Run sends them.
func New(pub Publisher, host string) *Emitter {
	return &Emitter{pub: pub, host: host, events: make(chan *mailv1.TraceEvent, room), parcels: map[string]*parcel{}}
}

// Emit takes an event, which must not be changed afterwards. It never blocks.
func (e *Emitter) Emit(ev *mailv1.TraceEvent) {
	if ev.TimeNs == 0 {
		ev.TimeNs = time.Now().UnixNano()
	}
	ev.Host = e.host
	for _, text := range []*string{&ev.ReversePath, &ev.ForwardPath, &ev.Detail, &ev.MessageId, &ev.Client} {
		if len(*text) > maxText {
			*text = strings.ToValidUTF8((*text)[:maxText], "")
		}
	}
	if e.ended.Load() {
		e.dropped.Add(1)
		return
	}
	select {
	case e.events <- ev:
	default:
		e.dropped.Add(1)
		return
	}
	if e.ended.Load() {
		// Run may have looked for the last time before this event came: one of those that nobody takes any more is counted.
		e.discard(1)
	}
}

// discard counts events that nobody takes any more.
func (e *Emitter) discard(n int) {
	for range n {
		select {
		case <-e.events:
			e.dropped.Add(1)
		default:
			return
		}
	}
}

// Dropped counts events that found no room, came after Run or could not be published.
func (e *Emitter) Dropped() uint64 { return e.dropped.Load() }

// Run sends batches until ctx ends, and then what still waits.
func (e *Emitter) Run(ctx context.Context) error {
	tick := time.NewTimer(batchTime)
	defer tick.Stop()
	batch := make([]*mailv1.TraceEvent, 0, batchEvents)
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
			e.ended.Store(true)
			e.rest(batch)
			return nil
		}
		e.send(batch)
		clear(batch)
		batch = batch[:0]
	}
}

// rest sends what still waits, behind batch.
func (e *Emitter) rest(batch []*mailv1.TraceEvent) {
	for {
		select {
		case ev := <-e.events:
			if batch = append(batch, ev); len(batch) < batchEvents {
				continue
			}
			e.send(batch)
			batch = batch[:0]
		default:
			e.send(batch)
			return
		}
	}
}

// send publishes events by their stage, in their order, and each for those who follow its message.
func (e *Emitter) send(events []*mailv1.TraceEvent) {
	for _, ev := range events {
		var err error
		if e.buf, err = (proto.MarshalOptions{}).MarshalAppend(e.buf[:0], ev); err != nil {
			e.dropped.Add(1)
			continue
		}
		p := e.parcels[ev.Stage]
		if p == nil {
			p = &parcel{stage: ev.Stage}
			e.parcels[ev.Stage] = p
		}
		if len(p.payload)+len(e.buf) > batchBytes {
			e.publish(p)
		}
		p.add(e.buf)
		e.follow(ev, e.buf)
	}
	for _, p := range e.parcels {
		e.publish(p)
	}
}

// parcel is the events of a stage that are published together: an encoded mailv1.TraceBatch.
type parcel struct {
	stage   string
	events  int
	payload []byte
}

// add appends an encoded event.
func (p *parcel) add(event []byte) {
	const eventsField = 1
	p.payload = protowire.AppendTag(p.payload, eventsField, protowire.BytesType)
	p.payload = protowire.AppendBytes(p.payload, event)
	p.events++
}

// publish sends and empties a parcel.
func (e *Emitter) publish(p *parcel) {
	if p.events == 0 {
		return
	}
	if err := e.pub.Notify(bus.Trace(p.stage), p.payload); err != nil {
		e.dropped.Add(uint64(p.events))
	}
	p.events, p.payload = 0, p.payload[:0]
}

// follow tells those who follow this one message. Where it fails the batch fails too, and is counted.
func (e *Emitter) follow(ev *mailv1.TraceEvent, payload []byte) {
	if id, err := envelope.QueueIDFrom(ev.QueueId); err == nil { // else a connection without a message
		e.pub.Notify(bus.Follow(id.String()), payload)
	}
}
