package otlp_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/envelope"
	"github.com/mailfarm/mailfarm/internal/otlp"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// sink is a collector.
type sink struct {
	collector.UnimplementedTraceServiceServer
	spans chan *tracev1.Span
}

func (s *sink) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	for _, r := range req.ResourceSpans {
		for _, scope := range r.ScopeSpans {
			for _, span := range scope.Spans {
				s.spans <- span
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func startSink(t *testing.T) (*sink, string) { return startSinkAt(t, "127.0.0.1:0") }

func startSinkAt(t *testing.T, addr string) (*sink, string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{spans: make(chan *tracev1.Span, 100000)}
	srv := grpc.NewServer()
	collector.RegisterTraceServiceServer(srv, s)
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	return s, l.Addr().String()
}

// process makes the exporter of one process; what it returns ends it.
func process(t *testing.T, cfg otlp.Config, name string) (*otlp.Exporter, func()) {
	t.Helper()
	cfg.Defaults()
	e, err := otlp.Open(cfg, "test", name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return e, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (s *sink) take(t *testing.T, n int) []*tracev1.Span {
	t.Helper()
	var all []*tracev1.Span
	for range n {
		select {
		case span := <-s.spans:
			all = append(all, span)
		case <-time.After(20 * time.Second):
			t.Fatalf("got %d of %d spans", len(all), n)
		}
	}
	return all
}

// TestOneTrace: what three processes that know nothing of each other tell of a message is one trace.
func TestOneTrace(t *testing.T) {
	s, at := startSink(t)
	cfg := otlp.Config{Endpoint: at, Plaintext: true}
	id := envelope.NewQueueID(time.Now())
	now := time.Now().UnixNano()
	for i, ev := range []*mailv1.TraceEvent{
		{Stage: "local", Event: "delivered", Role: "delivery-local", ForwardPath: "alice@example.org", TimeNs: now + 2e6, DurationUs: 500},
		{Stage: "smtp", Event: "accepted", Role: "ingress", Client: "192.0.2.1", TimeNs: now, DurationUs: 3000},
		{Stage: "router", Event: "routed", Role: "router", TimeNs: now + 1e6, DurationUs: 200},
	} {
		e, stop := process(t, cfg, fmt.Sprint("process ", i))
		ev.QueueId = id[:]
		e.Emit(ev)
		e.Emit(&mailv1.TraceEvent{Stage: "smtp", Event: "refused"}) // without a message: no span
		stop()
	}
	spans := s.take(t, 3)
	slices.SortFunc(spans, func(a, b *tracev1.Span) int { return int(int64(a.EndTimeUnixNano) - int64(b.EndTimeUnixNano)) })
	for i, name := range []string{"smtp accepted", "router routed", "local delivered"} {
		span := spans[i]
		if span.Name != name || string(span.TraceId) != string(id[:]) {
			t.Errorf("span %d: %q of trace %x, want %q of %x", i, span.Name, span.TraceId, name, id[:])
		}
		if first := len(span.ParentSpanId) == 0; first != (i == 0) || i > 0 && string(span.ParentSpanId) != string(spans[0].SpanId) {
			t.Errorf("%s: parent %x, want the first span %x", name, span.ParentSpanId, spans[0].SpanId)
		}
	}
	if took := spans[0].EndTimeUnixNano - spans[0].StartTimeUnixNano; took != 3e6 {
		t.Errorf("the first span took %d ns, want 3 ms", took)
	}
	if len(s.spans) > 0 {
		t.Error("there are more spans")
	}
}

// TestSample: a message is exported by all processes or by none.
func TestSample(t *testing.T) {
	s, at := startSink(t)
	a, stopA := process(t, otlp.Config{Endpoint: at, Plaintext: true, Sample: 0.3}, "a")
	b, stopB := process(t, otlp.Config{Endpoint: at, Plaintext: true, Sample: 0.3}, "b")
	const messages = 200
	for range messages {
		id := envelope.NewQueueID(time.Now())
		a.Emit(&mailv1.TraceEvent{Stage: "smtp", Event: "accepted", QueueId: id[:]})
		b.Emit(&mailv1.TraceEvent{Stage: "local", Event: "delivered", QueueId: id[:]})
	}
	stopA()
	stopB()
	close(s.spans)
	spans := map[string]int{}
	for span := range s.spans {
		spans[string(span.TraceId)]++
	}
	if len(spans) == 0 || len(spans) > messages*2/3 {
		t.Errorf("%d of %d messages were exported, with a share of 0.3", len(spans), messages)
	}
	for id, n := range spans {
		if n != 2 {
			t.Errorf("message %x has %d spans, want 2", id, n)
		}
	}
}

// TestTexts: texts of any length and kind arrive as UTF-8, within their bound.
func TestTexts(t *testing.T) {
	s, at := startSink(t)
	e, stop := process(t, otlp.Config{Endpoint: at, Plaintext: true}, "a")
	id := envelope.NewQueueID(time.Now())
	lengths := []int{0, 1, 60, 120, 127, 128, 129, 900, 1024, 5000}
	for _, n := range lengths {
		e.Emit(&mailv1.TraceEvent{
			Stage: "remote", Event: "deferred", QueueId: id[:], Role: "delivery-remote", ReversePath: strings.Repeat("f", n),
			ForwardPath: strings.Repeat("t", n), Detail: strings.Repeat("d", n) + "\xff",
		})
	}
	stop()
	for i, span := range s.take(t, len(lengths)) {
		n := min(lengths[i], 1024)
		got := map[string]string{}
		for _, a := range span.Attributes {
			got[a.Key] = a.Value.GetStringValue()
		}
		want := map[string]string{"mail.role": "delivery-remote", "mail.detail": strings.Repeat("d", n)}
		if n > 0 {
			want["mail.from"], want["mail.to"] = strings.Repeat("f", n), strings.Repeat("t", n)
		}
		if !maps.Equal(got, want) {
			t.Errorf("texts of %d octets: attributes %q", lengths[i], got)
		}
		if span.Status.GetCode() != tracev1.Status_STATUS_CODE_ERROR || span.Status.GetMessage() != strings.Repeat("d", n) {
			t.Errorf("texts of %d octets: status %v", lengths[i], span.Status)
		}
	}
}

// TestCollectorAway: what waits for a collector is bounded, and arrives once it is there.
func TestCollectorAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	e, stop := process(t, otlp.Config{Endpoint: at, Plaintext: true}, "a")
	const all = 50000
	for range all {
		id := envelope.NewQueueID(time.Now())
		e.Emit(&mailv1.TraceEvent{Stage: "smtp", Event: "accepted", QueueId: id[:], MessageId: strings.Repeat("m", 200)})
	}
	s, _ := startSinkAt(t, at)
	s.take(t, 10000)
	stop()
	if got := 10000 + len(s.spans); got >= all/2 {
		t.Errorf("%d of %d spans found room", got, all)
	}
}
