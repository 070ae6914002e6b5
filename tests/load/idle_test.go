package load

import (
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// BenchmarkIdle is what a farm uses when nobody wants anything of it.
func BenchmarkIdle(b *testing.B) {
	const watched = 20 * time.Second
	for _, s := range []shape{{"one-process", nil, ""}, {"farm", &harness.Layout{}, ""}} {
		b.Run(s.name, func(b *testing.B) {
			f := s.start(b)
			<-time.After(watched / 2) // what a start leaves to do
			for b.Loop() {
				before := cpuOf(b, f)
				<-time.After(watched)
				b.ReportMetric(float64(cpuOf(b, f)-before)/float64(watched)*100, "%-of-a-core")
			}
		})
	}
}
