package limits_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/limits"
)

func TestValidate(t *testing.T) {
	cfg := limits.Config{Trusted: []string{"nonsense"}, MaxKeys: 1}
	cfg.Account.Exempt = []string{"127.0.0.1"}
	cfg.Connections.IMAP, cfg.Logins.Failures, cfg.Logins.MaxBanTime = -2, 1001, time.Second
	cfg.Gossip.Every, cfg.Gossip.Expire = time.Second, time.Second
	cfg.Defaults()
	err := cfg.Validate()
	for _, key := range []string{"trusted[0]: ", "account.exempt[0]: ", "max_keys: ", "connections.imap: ", "logins.failures: ", "logins.max_ban_time: ", "gossip.expire: "} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not among the faults: %v", key, err)
		}
	}
	var good limits.Config
	good.Defaults()
	if err := good.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

// TestNoLimits shows that a role without shared limits needs no other code.
func TestNoLimits(t *testing.T) {
	var none *limits.Limits
	if limit, leave := none.Enter("smtp", client(1)); limit != "" || leave == nil {
		t.Errorf("Enter: %q", limit)
	}
	none.LoginFailed(client(1), "x", 1)
	if leave, ok := none.EnterAccount(client(1), 1); !ok || leave == nil {
		t.Error("EnterAccount")
	}
	if !none.Message(client(1)) || !none.AccountMessage(client(1), 1) || none.AccountRecipients(client(1), 1, 7) != 7 {
		t.Error("a nil limit limits")
	}
}

// TestConnectionsOverAllProcesses opens connections at four processes in turn, at three speeds, and counts how many the
// farm lets in.
func TestConnectionsOverAllProcesses(t *testing.T) {
	const limit = 400
	for _, perSecond := range []int{50, 200, 400} {
		t.Run(fmt.Sprint(perSecond, " per second"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork()
				var cfg limits.Config
				cfg.Connections.SMTP = limit
				var all []*limits.Limits
				for range 4 {
					l, stop := process(t, cfg, n.link(), n.link())
					defer stop()
					all = append(all, l)
				}
				var leaves []func()
				enter := func(i int) {
					if refused, leave := all[i%len(all)].Enter("smtp", client(1)); refused == "" {
						leaves = append(leaves, leave)
					} else if refused != front.LimitAddress {
						t.Fatalf("refused for %q", refused)
					}
				}
				for i := range 3 * limit {
					enter(i)
					time.Sleep(time.Second / time.Duration(perSecond))
				}
				t.Logf("%d of %d entered", len(leaves), limit)
				if len(leaves) < limit || len(leaves) > limit+limit/10 {
					t.Errorf("%d connections were let in, want %d to %d", len(leaves), limit, limit+limit/10)
				}
				for _, leave := range leaves[:100] {
					leave()
				}
				time.Sleep(3 * time.Second)
				before := len(leaves) - 100
				leaves = leaves[100:]
				for i := range limit {
					enter(i)
					time.Sleep(time.Second / time.Duration(perSecond))
				}
				if len(leaves) < limit || before >= limit {
					t.Errorf("after 100 left there are %d, of %d before", len(leaves), before)
				}
			})
		})
	}
}

// TestDeadProcess is forgotten after a while, one that leaves at once, and one that is cut off goes on alone.
func TestDeadProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		var cfg limits.Config
		cfg.Connections.SMTP = 100
		cfg.Defaults()
		la, lb, lc := n.link(), n.link(), n.link()
		a, _ := process(t, cfg, la, la)
		b, _ := process(t, cfg, lb, lb)
		c, stopC := process(t, cfg, lc, lc)
		room := func(l *limits.Limits) int { return room(l, client(1)) }
		for range 30 {
			a.Enter("smtp", client(1))
			c.Enter("smtp", client(1))
		}
		time.Sleep(2 * time.Second)
		if got := room(b); got != 40 {
			t.Errorf("with two others there is room for %d, want 40", got)
		}
		time.Sleep(2 * time.Second)
		stopC()
		time.Sleep(time.Millisecond)
		if got := room(b); got != 70 {
			t.Errorf("with one that left there is room for %d, want 70", got)
		}
		time.Sleep(2 * time.Second)
		la.setCut(true)
		time.Sleep(cfg.Gossip.Expire / 2)
		if got := room(b); got != 70 {
			t.Errorf("soon after the other fell silent there is room for %d, want 70", got)
		}
		time.Sleep(cfg.Gossip.Expire)
		if got := room(b); got != 100 {
			t.Errorf("with one that died there is room for %d, want 100", got)
		}
		if got := room(a); got != 70 {
			t.Errorf("who is cut off has room for %d, want 70", got)
		}
		la.setCut(false)
		time.Sleep(2 * time.Second)
		if got := room(b); got != 70 {
			t.Errorf("with the other back there is room for %d, want 70", got)
		}
	})
}

// TestMessages of clients and accounts, over two processes.
func TestMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		var cfg limits.Config
		cfg.Client.MessagesPerMinute = 10
		cfg.Account.MessagesPerHour, cfg.Account.RecipientsPerHour, cfg.Account.RecipientsPerDay, cfg.Account.Connections = 20, 50, 80, 3
		la, lb := n.link(), n.link()
		a, _ := process(t, cfg, la, la)
		b, _ := process(t, cfg, lb, lb)
		both := []*limits.Limits{a, b}
		settle := func() { time.Sleep(1100 * time.Millisecond) }

		may := 0
		for i := range 20 {
			if both[i%2].Message(client(1)) {
				may++
			}
			settle()
		}
		if may < 10 || may > 11 {
			t.Errorf("%d messages of a client within 22 s, want 10", may)
		}
		if !a.Message(client(2)) {
			t.Error("another client may not")
		}
		time.Sleep(70 * time.Second)
		if !a.Message(client(1)) {
			t.Error("a minute later the client may not yet")
		}

		may = 0
		for i := range 30 {
			if both[i%2].AccountMessage(client(i), 7) {
				may++
			}
			settle()
		}
		if may < 20 || may > 22 {
			t.Errorf("%d messages of an account, want 20", may)
		}
		if got := a.AccountRecipients(client(1), 7, 30); got != 30 {
			t.Errorf("%d of 30 recipients", got)
		}
		settle()
		if got := b.AccountRecipients(client(1), 7, 30); got != 20 {
			t.Errorf("%d of 30 recipients behind 30 of 50, want 20", got)
		}
		time.Sleep(2 * time.Hour)
		if got := b.AccountRecipients(client(1), 7, 50); got != 50 {
			// What a counted today is not told any more where it is below its share; here it is not.
			if got != 30 {
				t.Errorf("%d of 50 recipients behind 50 of 80 today, want 30", got)
			}
		} else {
			t.Error("the day's limit does not hold")
		}

		var leaves []func()
		for i := range 3 {
			leave, ok := both[i%2].EnterAccount(client(1), 7)
			if !ok {
				t.Error("an account may not connect")
			}
			leaves = append(leaves, leave)
			settle()
		}
		if _, ok := b.EnterAccount(client(1), 7); ok {
			t.Error("an account has a fourth connection")
		}
		leaves[0]()
		settle()
		settle()
		if _, ok := b.EnterAccount(client(1), 7); !ok {
			t.Error("an account may not connect in the place of one that left")
		}
	})
}

// TestTrusted clients are not limited, nor those without an address.
func TestTrusted(t *testing.T) {
	var cfg limits.Config
	cfg.Connections.IMAP, cfg.Client.MessagesPerHour, cfg.Account.MessagesPerHour = 1, 1, 2
	cfg.Trusted = []string{"127.0.0.0/8", "::1/128", "10.0.0.0/8"}
	l := newNetwork().link()
	x, _ := process(t, cfg, l, l)
	for _, c := range []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), {}} {
		fail(x, c, 100)
		for range 3 {
			if limit, _ := x.Enter("imap", c); limit != "" || !x.Message(c) {
				t.Errorf("%v: refused for %q", c, limit)
			}
		}
	}
	webmail := netip.MustParseAddr("10.0.0.1")
	for i := range 5 {
		if may := x.AccountMessage(netip.MustParseAddr("127.0.0.1"), 9); !may {
			t.Error("an account is limited on this machine")
		}
		if may := x.AccountMessage(webmail, 9); may != (i < 2) {
			t.Errorf("message %d of an account by a trusted client: %v", i+1, may)
		}
	}
	x.Enter("imap", client(1))
	if limit, leave := x.Enter("imap", client(1)); limit != front.LimitAddress || leave == nil {
		t.Errorf("another client: %q", limit)
	}
	if limit, _ := x.Enter("no such service", client(1)); limit != "" {
		t.Errorf("a service without a limit: %q", limit)
	}
	// An IPv6 client is its /64.
	x.Enter("imap", netip.MustParseAddr("2001:db8::1"))
	if limit, _ := x.Enter("imap", netip.MustParseAddr("2001:db8::2")); limit != front.LimitAddress {
		t.Errorf("a neighbour in the same /64: %q", limit)
	}
	if limit, _ := x.Enter("imap", netip.MustParseAddr("2001:db8:0:1::2")); limit != "" {
		t.Errorf("another /64: %q", limit)
	}
}

// TestNeverMoreInAnyWindow lets random bursts at a limit: no stretch of an hour has more than it allows, and it allows again
// all that an hour and an eighth have forgotten.
func TestNeverMoreInAnyWindow(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			const limit = 50
			var cfg limits.Config
			cfg.Account.MessagesPerHour, cfg.Account.MessagesPerDay = limit, -1
			l := newNetwork().link()
			x, stop := process(t, cfg, l, l)
			defer stop()
			var at []time.Time
			for range 200 {
				for range r.IntN(40) {
					now := time.Now()
					within, remembered := 0, 0
					for _, a := range at {
						if now.Sub(a) < time.Hour {
							within++
						}
						if now.Sub(a) <= time.Hour+time.Hour/8 {
							remembered++
						}
					}
					got := x.AccountMessage(client(1), 1)
					if got && within >= limit {
						t.Fatalf("seed %d: %d within an hour", seed, within+1)
					}
					if !got && remembered < limit {
						t.Fatalf("seed %d: refused with %d in memory", seed, remembered)
					}
					if got {
						at = append(at, now)
					}
				}
				time.Sleep(time.Duration(r.Int64N(int64(20 * time.Minute))))
			}
			if len(at) < 2*limit {
				t.Errorf("seed %d: only %d were allowed", seed, len(at))
			}
		})
	}
}

// TestBounded counts 200,000 clients in the memory of max_keys, and keeps those that are connected.
func TestBounded(t *testing.T) {
	var cfg limits.Config
	cfg.MaxKeys, cfg.Connections.SMTP, cfg.Client.MessagesPerHour = 1000, 2, 100
	l := newNetwork().link()
	x, _ := process(t, cfg, l, l)
	one := netip.MustParseAddr("192.0.2.1")
	x.Enter("smtp", one)
	_, leave := x.Enter("smtp", one)
	for i := range 200_000 {
		c := client4(i)
		_, leave := x.Enter("smtp", c)
		leave()
		x.Message(c)
	}
	if got := x.Keys(); got > 1001 {
		t.Errorf("%d keys are counted", got)
	}
	if limit, _ := x.Enter("smtp", one); limit != front.LimitAddress {
		t.Errorf("a client with two connections was forgotten: %q", limit)
	}
	leave()
	if limit, _ := x.Enter("smtp", one); limit != "" {
		t.Errorf("after one left: %q", limit)
	}
}

// TestGossipIsBounded has more busy keys than a message holds: those nearest to their limits are told of.
func TestGossipIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		var cfg limits.Config
		cfg.Connections.SMTP, cfg.Gossip.MaxBytes = 10, 4096
		la, lb := n.link(), n.link()
		a, _ := process(t, cfg, la, la)
		b, _ := process(t, cfg, lb, lb)
		for i := range 5000 {
			a.Enter("smtp", client(i))
		}
		for range 9 {
			a.Enter("smtp", client(4321))
		}
		time.Sleep(3 * time.Second)
		if limit, _ := b.Enter("smtp", client(4321)); limit != front.LimitAddress {
			t.Errorf("the one at its limit was not told of: %q", limit)
		}
		for _, size := range n.told() {
			if size > cfg.Gossip.MaxBytes {
				t.Errorf("%d octets were told at once", size)
			}
		}
	})
}

func TestEnterAllocatesNothing(t *testing.T) {
	var cfg limits.Config
	cfg.Client.MessagesPerMinute, cfg.Client.MessagesPerHour = 1<<30, 1<<30
	l := newNetwork().link()
	x, _ := process(t, cfg, l, l)
	c := client(1)
	use := func() {
		_, leave := x.Enter("smtp", c)
		x.Message(c)
		leave()
	}
	use()
	if n := testing.AllocsPerRun(1000, use); n != 0 {
		t.Errorf("%v allocations per connection and message", n)
	}
}

func BenchmarkEnter(b *testing.B) {
	for _, row := range []struct {
		name    string
		clients int
	}{{"known", 1}, {"100k", 100_000}, {"1M", 1_000_000}} {
		b.Run(row.name, func(b *testing.B) {
			l := newNetwork().link()
			x := benchmarked(b, l)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				c := client4(i)
				_, leave := x.Enter("smtp", c)
				leave()
				if i++; i == row.clients {
					i = 0
				}
			}
			b.ReportMetric(float64(x.Keys()), "keys")
		})
	}
}

// BenchmarkKey tells what a key costs in memory.
func BenchmarkKey(b *testing.B) {
	l := newNetwork().link()
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		x := benchmarked(b, l)
		for i := range 100_000 {
			_, leave := x.Enter("smtp", client4(i))
			leave()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(x.Keys()), "B/key")
	}
}

// BenchmarkBanned tells what a refusal costs among many bans.
func BenchmarkBanned(b *testing.B) {
	l := newNetwork().link()
	x := benchmarked(b, l)
	for i := range 50_000 {
		fail(x, client4(i), 20)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if limit, _ := x.Enter("smtp", client4(i%50_000)); limit != limits.LimitBanned {
			b.Fatal("not banned")
		}
		i++
	}
}

func client4(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}
