package load

import (
	"fmt"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/tests/harness"
)

const (
	tracingRounds  = 4
	tracingLetters = 2000
	// exported is when the last spans of a round have gone: the exporter gathers them for less.
	exported = 6 * time.Second
)

// BenchmarkTracing is what the export of traces costs: two farms alike, one with a collector, take turns in one run, so that
// whatever else the machine does befalls both. The CPU is that of mailfarm's processes, the collector's is not counted.
func BenchmarkTracing(b *testing.B) {
	for _, s := range []shape{{"one-process", nil, unlimited}, {"farm", &harness.Layout{}, unlimited}} {
		b.Run(s.name, func(b *testing.B) {
			collector := startCollector(b)
			export := fmt.Sprintf("otlp: {endpoint: %q, plaintext: true}\n", collector.address)
			off, on := s.start(b), shape{s.name, s.layout, s.flags + export}.start(b)
			offUsers, onUsers := users(b, off), users(b, on)
			for b.Loop() {
				cpuPerMessage(b, off, offUsers) // warms up
				cpuPerMessage(b, on, onUsers)
				var without, with float64
				before := collector.spans.Load()
				for range tracingRounds {
					without += cpuPerMessage(b, off, offUsers)
					with += cpuPerMessage(b, on, onUsers)
				}
				b.ReportMetric(without/tracingRounds, "CPU-ms/message-off")
				b.ReportMetric(with/tracingRounds, "CPU-ms/message-on")
				b.ReportMetric((with/without-1)*100, "%-more")
				b.ReportMetric(float64(collector.spans.Load()-before)/tracingRounds/tracingLetters, "spans/message")
			}
		})
	}
}

// cpuPerMessage is the milliseconds that a farm's processes take for a message until it is delivered and its spans are exported.
func cpuPerMessage(b *testing.B, f *harness.Farm, users []string) float64 {
	b.Helper()
	before, cpu := total(b, f, users), cpuOf(b, f)
	hand(b, f, users, 20, tracingLetters, 0)
	for total(b, f, users) < before+tracingLetters {
		<-time.After(20 * time.Millisecond)
	}
	<-time.After(exported)
	ms := float64((cpuOf(b, f) - cpu).Microseconds()) / 1000 / tracingLetters
	b.Logf("%s: %.3f ms", f.HTTP(), ms)
	return ms
}
