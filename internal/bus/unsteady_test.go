package bus_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/bus/bustest"
	"github.com/mailfarm/mailfarm/internal/servers"
)

// TestUnsteady publishes and takes work over connections that break off at any octet: what was published without error is
// taken, nothing is acknowledged that was not handled, and afterwards nothing waits.
func TestUnsteady(t *testing.T) {
	x := startExternal(t)
	u, err := url.Parse(x.URLs()[0])
	if err != nil {
		t.Fatal(err)
	}
	proxy := servers.NewProxy(t, u.Host)
	u.Host = proxy.Addr()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)

	steady := bustest.Config()
	steady.Servers = x.URLs()
	keeper := bustest.ConnectWith(t, steady) // by no proxy: it sets the bus up and looks
	cfg := steady
	cfg.Servers = []string{u.String()}
	c, err := bus.Connect(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c.Close(ctx)
	})

	r := rand.New(rand.NewPCG(seed, 0))
	proxy.Set(servers.Mode{Strike: func([]byte, bool) servers.Blow {
		if r.IntN(12) > 0 {
			return servers.Pass
		}
		return []servers.Blow{servers.Lose, servers.Halve, servers.Last}[r.IntN(3)]
	}})

	var mu sync.Mutex
	handled := map[uint64]int{}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- c.Consume(ctx, bus.Consumer{Subject: bus.Filtered}, func(_ context.Context, batch []*bus.Work) {
			for _, w := range batch {
				mu.Lock()
				handled[binary.BigEndian.Uint64(w.Data())]++
				mu.Unlock()
				w.Ack()
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("consume: %v", err)
		}
	})

	rounds, failed := 60, 0
	if testing.Short() {
		rounds = 15
	}
	var published uint64
	for range rounds {
		keys, payloads := make([]uint64, 10), make([][]byte, 10)
		for i := range keys {
			keys[i], payloads[i] = published, binary.BigEndian.AppendUint64(nil, published)
			published++
		}
		bustest.WaitFor(t, "a batch to be published", func() bool {
			try, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			err := c.PublishAll(try, bus.Filtered, keys, payloads)
			if err != nil {
				failed++
			}
			return err == nil
		})
	}
	proxy.Set(servers.Mode{})
	bustest.WaitFor(t, "all work to be taken", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return uint64(len(handled)) == published
	})
	bustest.WaitFor(t, "nothing to wait", func() bool {
		n, err := keeper.Backlog(t.Context(), bus.Filtered)
		return n == 0 && err == nil
	})
	again := 0
	for _, n := range handled {
		again += n - 1
	}
	t.Logf("%d published, %d publishes failed and were repeated, %d pieces were taken again", published, failed, again)
}
