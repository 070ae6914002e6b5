package limits_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mailfarm/mailfarm/internal/limits"
	"github.com/mailfarm/mailfarm/internal/rpc"
	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
	limitsv1 "github.com/mailfarm/mailfarm/proto/mailfarm/limits/v1"
)

// operator speaks to a process's service.
type operator struct{ adminv1.BansClient }

func operate(t *testing.T, l *limits.Limits) operator {
	t.Helper()
	srv := rpc.NewServer(slog.New(slog.DiscardHandler))
	l.Register(srv)
	conn, stop, err := rpc.Local(srv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return operator{adminv1.NewBansClient(conn)}
}

func (o operator) list(ctx context.Context) (all []*adminv1.Ban, err error) {
	stream, err := o.List(ctx, &adminv1.BansListRequest{})
	for err == nil {
		var resp *adminv1.BansListResponse
		if resp, err = stream.Recv(); err == nil {
			all = append(all, resp.Bans...)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return all, err
}

// TestBanReachesAll: failures at several processes ban a client at all of them, over a real bus, until an operator lifts it.
func TestBanReachesAll(t *testing.T) {
	n := startNATS(t)
	var cfg limits.Config
	cfg.Gossip.Every = 100 * time.Millisecond
	var all []*limits.Limits
	for range 3 {
		l, _ := n.process(cfg)
		all = append(all, l)
	}
	guesser, other := client(1), client(2)
	// Failures are the farm's: of 21 none of the processes sees more than 7.
	for i := range 21 {
		all[i%3].LoginFailed(guesser, "alice@example.org", uint32(i))
	}
	all[0].LoginFailed(other, "alice@example.org", 99)
	for i, l := range all {
		eventually(t, fmt.Sprintf("process %d bans", i), func() bool { return !enters(l, guesser) })
		if !enters(l, other) {
			t.Errorf("process %d bans another client", i)
		}
	}
	o := operate(t, all[2])
	var bans []*adminv1.Ban
	eventually(t, "it is listed", func() bool { bans, _ = o.list(t.Context()); return len(bans) == 1 })
	if bans[0].Network != "198.51.0.1/32" || bans[0].Strikes != 1 || bans[0].Reason == "" || bans[0].UntilNs-bans[0].SinceNs != int64(15*time.Minute) {
		t.Errorf("ban %v", bans[0])
	}
	if _, err := o.Remove(t.Context(), &adminv1.BansRemoveRequest{Network: guesser.String()}); err != nil {
		t.Fatal(err)
	}
	for i, l := range all {
		eventually(t, fmt.Sprintf("process %d lets in again", i), func() bool { return enters(l, guesser) })
	}
	if _, err := o.Remove(t.Context(), &adminv1.BansRemoveRequest{Network: guesser.String()}); status.Code(err) != codes.NotFound {
		t.Errorf("a second time: %v", err)
	}
}

// TestCountsOverNATS: what two processes count is what a third has no room for, over a real bus, which is away and comes back.
func TestCountsOverNATS(t *testing.T) {
	n := startNATS(t)
	var cfg limits.Config
	cfg.Gossip.Every, cfg.Gossip.Expire = 100*time.Millisecond, 500*time.Millisecond
	a, _ := n.process(cfg)
	b, _ := n.process(cfg)
	c, _ := n.process(cfg)
	for range 60 {
		a.Enter("smtp", client(1))
		b.Enter("smtp", client(1))
	}
	eventually(t, "a third has room for 80 of 200", func() bool { return room(c, client(1)) == 80 })
	n.stop()
	eventually(t, "alone it has room for all", func() bool { return room(c, client(1)) == 200 })
	n.start()
	eventually(t, "room for 80 when the bus is back", func() bool { return room(c, client(1)) == 80 })
}

// TestStrangeWords: what cannot be read, is too long, or is of another version does no harm.
func TestStrangeWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		l, stranger := n.link(), n.link()
		x, _ := process(t, limits.Config{}, l, l)
		synctest.Wait()
		say := func(m *limitsv1.Counts) {
			payload, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			stranger.Notify("", payload)
		}
		key := make([]byte, 16)
		stranger.Notify("", []byte("nonsense"))
		say(&limitsv1.Counts{Process: 1, Counted: []*limitsv1.Counted{
			{Kind: 0, Keys: key, Counts: []uint32{1}}, {Kind: 99, Keys: key, Counts: []uint32{1}}, {Kind: -1, Keys: key, Counts: []uint32{1}},
			{Kind: limitsv1.Kind_KIND_SMTP, Keys: key[:15], Counts: []uint32{1}}, {Kind: limitsv1.Kind_KIND_SMTP, Counts: []uint32{1, 2, 3}},
			{Kind: limitsv1.Kind_KIND_CLIENT_FAILED, Keys: key, Counts: []uint32{1000}}, {Kind: limitsv1.Kind_KIND_LMTP, Keys: key, Counts: []uint32{1}},
		}, Failed: []*limitsv1.Failed{
			{Kind: limitsv1.Kind_KIND_SMTP, Key: key, Attempts: []uint32{1}}, {Kind: limitsv1.Kind_KIND_CLIENT_FAILED, Key: key[:3], Attempts: []uint32{1}},
			{Kind: limitsv1.Kind_KIND_CLIENT_FAILED, Key: key, Attempts: make([]uint32, 100_000)},
		}})
		say(&limitsv1.Counts{Process: 1, Leaving: true})
		synctest.Wait()
		if got := x.Keys(); got != 0 {
			t.Errorf("%d keys are counted", got)
		}
		for key, value := range map[string]string{"c6336401.32": "nonsense", "no key": "", "c6336402.32": "\x0a\x0c10.0.0.1/32"} {
			if _, err := stranger.Put(t.Context(), key, []byte(value), 0); err != nil {
				t.Fatal(err)
			}
		}
		// One that says it has seen a client fail does not ban it alone: something must have failed here too.
		sixteen := netip.MustParseAddr("198.51.100.9").As16()
		var many []uint32
		for i := range uint32(50) {
			many = append(many, i)
		}
		say(&limitsv1.Counts{Process: 2, Failed: []*limitsv1.Failed{{Kind: limitsv1.Kind_KIND_CLIENT_FAILED, Key: sixteen[:], Attempts: many}}})
		synctest.Wait()
		for _, addr := range []string{"198.51.100.1", "198.51.100.2", "198.51.100.9", "10.0.0.1"} {
			if !enters(x, netip.MustParseAddr(addr)) {
				t.Errorf("%s is banned", addr)
			}
		}
	})
}

// TestOperatorsBans: networks of both families, what cannot be banned, and what is said.
func TestOperatorsBans(t *testing.T) {
	n := newNetwork()
	la, lb := n.link(), n.link()
	a, _ := process(t, limits.Config{Trusted: []string{"127.0.0.0/8", "10.0.0.0/8"}}, la, la)
	b, _ := process(t, limits.Config{}, lb, lb)
	o := operate(t, a)
	eventually(t, "bans are known", func() bool { _, err := o.list(t.Context()); return err == nil })
	add := func(network string) error {
		_, err := o.Add(t.Context(), &adminv1.BansAddRequest{Network: network, ForNs: int64(time.Hour), Reason: "test"})
		return err
	}
	for _, network := range []string{"192.0.2.0/25", "2001:db8:7::/48", "2001:db8:8:1::5", "203.0.113.9"} {
		if err := add(network); err != nil {
			t.Fatalf("%s: %v", network, err)
		}
	}
	for _, row := range []struct {
		addr string
		want bool
	}{
		{"192.0.2.127", false}, {"192.0.2.128", true}, {"2001:db8:7:ffff::1", false}, {"2001:db8:8::1", true},
		{"2001:db8:8:1::6", false}, {"2001:db8:8:2::5", true}, {"203.0.113.9", false}, {"203.0.113.10", true},
	} {
		eventually(t, fmt.Sprint(row), func() bool { return enters(b, netip.MustParseAddr(row.addr)) == row.want })
	}
	if limit, _ := b.Enter("smtp", netip.MustParseAddr("192.0.2.1")); limit != limits.LimitBanned {
		t.Errorf("refused for %q", limit)
	}
	got, err := o.list(t.Context())
	var networks []string
	for _, x := range got {
		networks = append(networks, x.Network)
	}
	if want := "[192.0.2.0/25 203.0.113.9/32 2001:db8:7::/48 2001:db8:8:1::/64]"; err != nil || fmt.Sprint(networks) != want {
		t.Errorf("listed %v, %v; want %s", networks, err, want)
	}
	for _, row := range []struct {
		name, network string
		ns            int64
	}{
		{"nonsense", "example.org", 1e9}, {"trusted", "10.1.2.3", 1e9}, {"trusted network", "10.1.0.0/16", 1e9}, {"no time", "192.0.2.200", 0},
		{"back in time", "192.0.2.200", -5}, {"for ever", "192.0.2.200", 1<<63 - 1}, {"zone", "fe80::1%eth0", 1e9}, {"mapped", "::ffff:192.0.2.0/120", 1e9},
		{"everybody", "0.0.0.0/0", 1e9}, {"everybody by IPv6", "::/0", 1e9},
	} {
		if _, err := o.Add(t.Context(), &adminv1.BansAddRequest{Network: row.network, ForNs: row.ns}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	_, err = o.Remove(t.Context(), &adminv1.BansRemoveRequest{Network: "192.0.2.7"})
	if want := "192.0.2.7/32 is banned by the network 192.0.2.0/25: remove that"; status.Convert(err).Message() != want {
		t.Errorf("removing one of a network: %v", err)
	}
	if err := add("192.0.2.7"); err != nil {
		t.Error(err)
	}
	for _, network := range []string{"192.0.2.0/25", "192.0.2.7"} {
		if enters(b, netip.MustParseAddr("192.0.2.7")) {
			t.Errorf("let in before %s was removed", network)
		}
		if _, err := o.Remove(t.Context(), &adminv1.BansRemoveRequest{Network: network}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "let in again", func() bool { return enters(b, netip.MustParseAddr("192.0.2.7")) })
	la.setCut(true)
	if err := add("192.0.2.9"); status.Code(err) != codes.Unavailable || !enters(a, netip.MustParseAddr("192.0.2.9")) {
		t.Errorf("with the bus away: %v", err)
	}
}

// TestBanOutlivesProcessesAndBus: a ban is there when all processes were restarted, and when the bus was wiped.
func TestBanOutlivesProcessesAndBus(t *testing.T) {
	n := startNATS(t)
	first, stop := n.process(limits.Config{})
	fail(first, client(1), 20)
	if enters(first, client(1)) {
		t.Fatal("not banned at once where it was noticed")
	}
	stop() // at once: what is banned last is written all the same
	second, stop := n.process(limits.Config{})
	eventually(t, "banned after a restart", func() bool { return !enters(second, client(1)) })

	n.stop()
	fail(second, client(2), 20)
	if enters(second, client(1)) || enters(second, client(2)) {
		t.Error("with the bus away what is known does not hold")
	}
	n.start()
	third, _ := n.process(limits.Config{})
	eventually(t, "what was banned while the bus was away is shared", func() bool { return !enters(third, client(2)) })
	eventually(t, "and what was there before", func() bool { return !enters(third, client(1)) })

	// The owner of the first ban is gone; another writes it again.
	n.wipe()
	fourth, _ := n.process(limits.Config{})
	for i := range 2 {
		eventually(t, fmt.Sprintf("ban %d is there after the bus was wiped", i+1), func() bool { return !enters(fourth, client(i+1)) })
	}
	stop()
	if o := operate(t, third); true {
		if _, err := o.Remove(t.Context(), &adminv1.BansRemoveRequest{Network: client(1).String()}); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "lifted everywhere", func() bool { return enters(third, client(1)) && enters(fourth, client(1)) })
}

// TestOldPasswordBansNobody: one wrong password that is tried again and again counts once, also at several processes.
func TestOldPasswordBansNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		la, lb := n.link(), n.link()
		a, _ := process(t, limits.Config{}, la, la)
		b, _ := process(t, limits.Config{}, lb, lb)
		office := client(1)
		for i := range 1000 {
			for device := range uint32(9) { // each with an old password of its own
				[]*limits.Limits{a, b}[i%2].LoginFailed(office, fmt.Sprintf("user%d@example.org", device), device)
			}
			time.Sleep(time.Second)
		}
		if !enters(a, office) || !enters(b, office) {
			t.Fatal("the office is banned")
		}
		for i := range uint32(11) {
			b.LoginFailed(office, "alice@example.org", 100+i)
		}
		time.Sleep(2 * time.Second)
		if enters(a, office) || enters(b, office) {
			t.Error("a guesser in the office is not banned")
		}
	})
}

// TestBansGrow: each further ban is longer, up to a bound; much later all is forgotten, in the bucket too.
func TestBansGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		var cfg limits.Config
		cfg.Logins.MaxBanTime = 2 * time.Hour
		la, lb := n.link(), n.link()
		a, _ := process(t, cfg, la, la)
		b, _ := process(t, cfg, lb, lb)
		for _, want := range []time.Duration{15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 2 * time.Hour} {
			fail(a, client(1), 19)
			time.Sleep(time.Second)
			if !enters(a, client(1)) {
				t.Fatalf("before the ban of %v: banned for 19 failures", want)
			}
			fail(a, client(1), 20)
			time.Sleep(want - time.Second)
			if enters(a, client(1)) || enters(b, client(1)) {
				t.Fatalf("let in before %v", want)
			}
			time.Sleep(2 * time.Second)
			if !enters(a, client(1)) || !enters(b, client(1)) {
				t.Fatalf("still banned after %v", want)
			}
			time.Sleep(time.Hour)
		}
		if n.kept() != 1 {
			t.Errorf("%d bans are kept", n.kept())
		}
		time.Sleep(25 * time.Hour)
		if n.kept() != 0 {
			t.Errorf("%d bans are kept a day later", n.kept())
		}
		fail(b, client(1), 20)
		time.Sleep(16 * time.Minute)
		if !enters(a, client(1)) {
			t.Error("a day later the ban is not the shortest again")
		}
		// Failures that are spread out ban nobody.
		for i := range uint32(200) {
			b.LoginFailed(client(2), "x", i)
			time.Sleep(time.Minute)
		}
		if !enters(b, client(2)) {
			t.Error("15 failures within any 15 minutes ban")
		}
	})
}

// TestGuessedAccount: an account that many guess at cannot be shut out, but who fails at it is banned sooner.
func TestGuessedAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newNetwork().link()
		a, _ := process(t, limits.Config{}, l, l)
		for i := range 100 {
			a.LoginFailed(client(i), "alice@example.org", uint32(i))
		}
		fail5 := func(c netip.Addr, user string, n int) {
			for i := range n {
				a.LoginFailed(c, user, uint32(1000+i))
			}
		}
		fail5(client(500), "alice@example.org", 4)
		if !enters(a, client(500)) {
			t.Error("alice is banned for 4 slips")
		}
		fail5(client(501), "alice@example.org", 5)
		if enters(a, client(501)) {
			t.Error("a guesser at alice's account is not banned for 5")
		}
		fail5(client(502), "bob@example.org", 5)
		if !enters(a, client(502)) {
			t.Error("a client that fails at bob's account is banned for 5")
		}
	})
}

// TestMaxBans: the farm bans no more of itself than it may; operators may.
func TestMaxBans(t *testing.T) {
	l := newNetwork().link()
	a, _ := process(t, limits.Config{MaxBans: 2}, l, l)
	for i := range 3 {
		fail(a, client(i), 20)
	}
	if enters(a, client(0)) || enters(a, client(1)) || !enters(a, client(2)) {
		t.Error("not two of three are banned")
	}
	o := operate(t, a)
	eventually(t, "an operator bans a third", func() bool {
		_, err := o.Add(t.Context(), &adminv1.BansAddRequest{Network: client(2).String(), ForNs: int64(time.Hour)})
		return err == nil && !enters(a, client(2))
	})
}
