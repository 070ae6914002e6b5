// Package otlp shows the way of each message to an OpenTelemetry collector: one trace from SMTP to mailbox, across all
// processes.
//
// A message's trace id is its queue id, and the id of the trace's first span is made from it. So each process makes its
// spans from what it knows anyway, nothing need travel with the work, and the trace stays whole when the bus is wiped or
// a recipient is tried again a day later.
package otlp

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/obs"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

const (
	// batchBytes and batchTime bound one export, below what every collector takes (4 MiB by default); so many may wait.
	batchBytes = 256 << 10
	batchTime  = time.Second
	maxBatches = 16
	// exportTime bounds one attempt, closeTime the last.
	exportTime = 10 * time.Second
	closeTime  = 2 * time.Second
	// pause lies between attempts where the collector is away.
	pause = time.Second
)

// method is that of opentelemetry.proto.collector.trace.v1.
const method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

// Exporter is an obs.Tracer that turns events into spans. Spans that find no room are dropped.
type Exporter struct {
	conn            *grpc.ClientConn
	headers         metadata.MD
	share           float64
	resource, scope []byte
	// some tells that spans wait, full that they are enough for an export.
	some, full chan struct{}

	mu      sync.Mutex // guards what follows
	waiting [][]byte   // encoded spans, by batch
	spare   []byte

	request []byte // what Run has in hand
}

// Open makes an exporter; Run connects, and tries again where the collector is away. instance names the process.
func Open(cfg Config, version, instance string) (*Exporter, error) {
	creds := credentials.NewTLS(nil)
	switch {
	case cfg.Plaintext:
		creds = insecure.NewCredentials()
	case cfg.CAFile != "":
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("otlp.ca_file: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("otlp.ca_file: no certificate in %s", cfg.CAFile)
		}
		creds = credentials.NewClientTLSFromCert(pool, "")
	}
	conn, err := grpc.NewClient("dns:///"+cfg.Endpoint, grpc.WithTransportCredentials(creds), grpc.WithUserAgent("mailfarm/"+version))
	if err != nil {
		return nil, fmt.Errorf("otlp: %w", err)
	}
	e := &Exporter{conn: conn, headers: metadata.New(cfg.Headers), share: cfg.Sample, some: make(chan struct{}, 1), full: make(chan struct{}, 1)}
	e.resource, e.scope = preamble(version, instance)
	return e, nil
}

// Emit is obs.Tracer's; it keeps nothing of the event. One without a message, such as a connection that was refused, has no trace.
func (e *Exporter) Emit(ev *mailv1.TraceEvent) {
	id, err := envelope.QueueIDFrom(ev.QueueId)
	if err != nil || !sampled(id, e.share) {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) == 0 {
		tell(e.some)
	}
	last := len(e.waiting) - 1
	if last < 0 || len(e.waiting[last]) >= batchBytes {
		if len(e.waiting) == maxBatches {
			return
		}
		e.waiting, e.spare = append(e.waiting, e.spare), nil
		last++
	}
	if e.waiting[last] = appendSpan(e.waiting[last], ev, id); len(e.waiting[last]) >= batchBytes {
		tell(e.full)
	}
}

func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run exports until ctx ends, and then what still waits.
func (e *Exporter) Run(ctx context.Context) error {
	defer e.conn.Close()
	for ctx.Err() == nil {
		select {
		case <-e.some:
			wait(ctx, batchTime, e.full)
		case <-e.full:
		case <-ctx.Done():
		}
		e.send(ctx)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	e.send(last)
	return nil
}

// wait waits until d has passed, there is something on early, or ctx ends.
func wait(ctx context.Context, d time.Duration, early <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-ctx.Done():
	}
}

// send exports what waits; it returns early when ctx ends.
func (e *Exporter) send(ctx context.Context) {
	for e.next() {
		for !e.export(ctx) {
			if wait(ctx, pause, nil); ctx.Err() != nil {
				return
			}
		}
		e.request = nil
	}
}

// next makes the next request, unless the last is still to be sent, and tells whether there is one.
func (e *Exporter) next() bool {
	if e.request != nil {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) == 0 {
		return false
	}
	spans := e.waiting[0]
	e.request = request(e.resource, e.scope, spans)
	e.waiting = slices.Delete(e.waiting, 0, 1)
	e.spare = spans[:0]
	return true
}

// export tries once and tells whether that settled the request: it was taken, or never will be.
func (e *Exporter) export(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, e.headers), exportTime)
	defer cancel()
	err := e.conn.Invoke(ctx, method, e.request, nil, grpc.ForceCodecV2(encoded{}))
	switch status.Code(err) { // as the specification of OTLP has it
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
		return false
	}
	return true
}

// encoded is the codec of a message that is encoded already, and of answers that nobody reads.
type encoded struct{}

func (encoded) Name() string                         { return "proto" }
func (encoded) Unmarshal(mem.BufferSlice, any) error { return nil }
func (encoded) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(message.([]byte))}, nil
}

// Both gives events to two tracers.
func Both(a, b obs.Tracer) obs.Tracer { return both{a, b} }

type both struct{ first, second obs.Tracer }

// Emit is obs.Tracer's. The second may keep the event, so it is the last that sees it.
func (b both) Emit(ev *mailv1.TraceEvent) {
	b.first.Emit(ev)
	b.second.Emit(ev)
}
