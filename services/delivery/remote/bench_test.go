package remote

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// BenchmarkSend is messages of 4 KiB from the bus to a peer on the loopback and back to the ledger: all of the role, with a
// real ledger, bus and blob directory.
func BenchmarkSend(b *testing.B) {
	for _, secure := range []bool{false, true} {
		b.Run(fmt.Sprintf("TLS=%t", secure), func(b *testing.B) {
			w := newWorld(b, "", nil)
			s := newServer(b, secure)
			w.net.at("192.0.2.1", s.serve)
			text := body + strings.Repeat("a line of an ordinary length, as it is in mail\r\n", 80)
			mails := make([]mail, b.N)
			for i := range mails {
				mails[i] = w.accept(letterTo("bob@example.net"), text)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			b.ResetTimer()
			go func() {
				for _, m := range mails {
					w.hint(m)
				}
			}()
			w.wait(b.N)
		})
	}
}

// BenchmarkGate is a job that enters and leaves while others run.
func BenchmarkGate(b *testing.B) {
	g := newGate(200, 10)
	for i := range 100 {
		g.enter(gateJob(i, fmt.Sprint(i/10)))
	}
	j := gateJob(1000, "other")
	b.ReportAllocs()
	for b.Loop() {
		g.enter(j)
		g.leave(j)
	}
}

// BenchmarkGuard is a reply through the guard.
func BenchmarkGuard(b *testing.B) {
	g := newGuard(endless{}, 0)
	buf := make([]byte, 4096)
	b.SetBytes(readBuffer)
	b.ReportAllocs()
	for b.Loop() {
		g.left = maxReplyOctets
		if _, err := io.ReadFull(g, buf[:readBuffer]); err != nil {
			b.Fatal(err)
		}
	}
}

// endless says 250 for ever.
type endless struct{ net.Conn }

func (endless) Read(b []byte) (int, error) {
	const line = "250-a line of a reply\r\n"
	n := 0
	for n+len(line) <= len(b) {
		n += copy(b[n:], line)
	}
	return n, nil
}

// BenchmarkOneLine is an ordinary reply made fit.
func BenchmarkOneLine(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		oneLine("2.0.0 Ok: queued as 4XyZ1234567890 by mx1.example.net")
	}
}
