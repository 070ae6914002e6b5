package s3

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// TestVirtualHost puts the bucket's name in the host's, or in the path.
func TestVirtualHost(t *testing.T) {
	memory := s3mem.New()
	if err := memory.CreateBucket("mail"); err != nil {
		t.Fatal(err)
	}
	for _, virtual := range []bool{false, true} {
		var requests, virtuals atomic.Int32
		next := gofakes3.New(memory, gofakes3.WithHostBucketBase("s3.example.org")).Server()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			if strings.HasPrefix(r.Host, "mail.s3.example.org") && !strings.HasPrefix(r.URL.Path, "/mail") {
				virtuals.Add(1)
			}
			next.ServeHTTP(w, r)
		}))
		cfg := Config{Endpoint: "http://s3.example.org", Bucket: "mail", AccessKey: "a", SecretKey: "b", VirtualHost: virtual}
		cfg.Defaults()
		m, err := newMetrics(nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := newBucket(&cfg, m)
		if err != nil {
			t.Fatal(err)
		}
		b.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server.Listener.Addr().String())
		}
		b.transport.Proxy = nil
		report := (&prober{b: b, key: probeKey()}).run(t.Context())
		if !report.OK() {
			t.Errorf("virtual host %v: %v", virtual, report)
		}
		if all, with := requests.Load(), virtuals.Load(); all < 10 || virtual && with != all || !virtual && with != 0 {
			t.Errorf("virtual host %v: %d requests, %d of them with the bucket in the host's name", virtual, all, with)
		}
		b.closeIdle()
		server.Close()
	}
}
