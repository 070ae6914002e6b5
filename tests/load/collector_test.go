package load

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// collector takes OTLP over gRPC and only counts spans.
type collector struct {
	address string
	spans   atomic.Int64
}

// startCollector listens without TLS until the benchmark ends.
func startCollector(b *testing.B) *collector {
	b.Helper()
	c := &collector{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(c.export))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	b.Cleanup(s.Close)
	c.address = strings.TrimPrefix(s.URL, "http://")
	return c
}

// export answers one call of TraceService/Export: a message of gRPC begins with five octets, and an empty one is these alone.
func (c *collector) export(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	request, err := io.ReadAll(r.Body)
	n := -1
	if err == nil && len(request) >= 5 && request[0] == 0 {
		const resourceSpans, scopeSpans, spans = 1, 2, 2
		n = count(request[5:], resourceSpans, scopeSpans, spans)
	}
	if n < 0 {
		w.Header().Set("Grpc-Status", "3") // INVALID_ARGUMENT
		w.Header().Set("Grpc-Message", fmt.Sprintf("%d octets that are no spans: %v", len(request), err))
		return
	}
	c.spans.Add(int64(n))
	w.Write(make([]byte, 5))
	w.Header().Set("Grpc-Status", "0")
}

// count is how many fields of an encoded message this path of field numbers leads to, or -1 where it cannot be decoded.
func count(message []byte, path ...protowire.Number) (n int) {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return -1
		}
		message = message[size:]
		if size = protowire.ConsumeFieldValue(number, kind, message); size < 0 {
			return -1
		}
		if value := message[:size]; number == path[0] && kind == protowire.BytesType {
			below := 1
			if len(path) > 1 {
				inner, _ := protowire.ConsumeBytes(value)
				below = count(inner, path[1:]...)
			}
			if below < 0 {
				return -1
			}
			n += below
		}
		message = message[size:]
	}
	return n
}
