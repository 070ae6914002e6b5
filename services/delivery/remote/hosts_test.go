package remote

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mailfarm/mailfarm/internal/resolve"
	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
)

// taking is a dialogue that takes a message for anybody, on as many connections as it is asked for.
func taking(t testing.TB) func(net.Conn) {
	return func(c net.Conn) {
		newScript(t, hello+"C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nC: .\nS: 250 ok").serve(c)
	}
}

// saying is a peer that greets with a line and reads no further.
func saying(line string) func(net.Conn) {
	return func(c net.Conn) { fmt.Fprintf(c, "%s\r\n", line) }
}

const hostZone = `
two.test. 60 IN MX 20 b.two.test.
two.test. 60 IN MX 10 a.two.test.
a.two.test. 60 IN A 192.0.2.10
b.two.test. 60 IN A 192.0.2.20
many.test. 60 IN MX 1 h1.many.test.
h1.many.test. 60 IN A 192.0.2.31
h1.many.test. 60 IN A 192.0.2.32
h1.many.test. 60 IN AAAA 2001:db8::31
many.test. 60 IN MX 2 h2.many.test.
h2.many.test. 60 IN A 192.0.2.33
plain.test. 60 IN A 192.0.2.40
six.test. 60 IN AAAA 2001:db8::6
null.test. 60 IN MX 0 .
text.test. 60 IN TXT "no mail here"
dead.test. 60 IN MX 1 gone1.dead.test.
dead.test. 60 IN MX 2 gone2.dead.test.
half.test. 60 IN MX 1 a.two.test.
half.test. 60 IN MX 2 gone.half.test.
unsure.test. 60 IN MX 1 gone.unsure.test.
unsure.test. 60 IN MX 2 servfail.unsure.test.
own.test. 60 IN MX 10 out.example.org.
own.test. 60 IN MX 20 b.two.test.
equal.test. 60 IN MX 10 out.example.org.
equal.test. 60 IN MX 10 b.two.test.
backup.test. 60 IN MX 10 a.two.test.
backup.test. 60 IN MX 20 OUT.example.org.
backup.test. 60 IN MX 20 b.two.test.
backup.test. 60 IN MX 30 c.two.test.
number.test. 60 IN MX 10 192.0.2.50.
zero.test. 60 IN MX 10 zero.zero.test.
zero.zero.test. 60 IN A 0.0.0.0
zero.zero.test. 60 IN A 224.0.0.1
`

// TestHosts tells which hosts are tried, and what comes of it.
func TestHosts(t *testing.T) {
	w := newWorld(t, hostZone, func(w *world) { w.cfg.MaxHosts = 3 })
	w.dns.Behave("away.test", dnstest.ServFail)
	w.dns.Behave("servfail.unsure.test", dnstest.ServFail)
	take, busy, closed := taking(t), saying("421 4.3.2 busy"), saying("554 5.3.2 closed")
	for _, row := range []struct {
		name, domain string
		hosts        map[string]func(net.Conn)
		dialed       string // "10 20" are 192.0.2.10, then 192.0.2.20
		want         string
	}{
		{"by preference", "two.test", map[string]func(net.Conn){"192.0.2.10": take}, "10", "relayed 250 2.0.0 ok"},
		{"the first is down", "two.test", map[string]func(net.Conn){"192.0.2.20": take}, "10 20", "relayed 250 2.0.0 ok"},
		{"the first is busy", "two.test", map[string]func(net.Conn){"192.0.2.10": busy, "192.0.2.20": take}, "10 20", "relayed 250 2.0.0 ok"},
		{"the first is closed", "two.test", map[string]func(net.Conn){"192.0.2.10": closed, "192.0.2.20": take}, "10 20", "relayed 250 2.0.0 ok"},
		{"all are closed", "two.test", map[string]func(net.Conn){"192.0.2.10": busy, "192.0.2.20": closed}, "10 20", "queued 554 5.3.2 closed"},
		{"all are down", "two.test", nil, "10 20", "queued 451 4.4.1 connect to b.two.test[192.0.2.20]:25: connection refused"},
		{"IPv4 first, not more than MaxHosts", "many.test", nil, "31 32 31", "queued 451 4.4.1 connect to h1.many.test[2001:db8::31]:25: connection refused"},
		{"no MX", "plain.test", map[string]func(net.Conn){"192.0.2.40": take}, "40", "relayed 250 2.0.0 ok"},
		{"no MX, IPv6", "six.test", map[string]func(net.Conn){"2001:db8::6": take}, "6", "relayed 250 2.0.0 ok"},
		{"null MX", "null.test", nil, "", "bounced 556 5.1.10 the domain takes no mail (null MX)"},
		{"no address", "text.test", nil, "", "bounced 550 5.1.2 the domain does not exist or has no mail server"},
		{"no domain", "nowhere.test", nil, "", "bounced 550 5.1.2 the domain does not exist or has no mail server"},
		{"no name", "a..test", nil, "", "bounced 550 5.1.2 the domain is not a name"},
		{"DNS away", "away.test", nil, "", "queued 451 4.4.3 the DNS did not answer for the domain"},
		{"no host exists", "dead.test", nil, "", "bounced 550 5.4.4 no mail server of the domain has an address"},
		{"one is down, one does not exist", "half.test", nil, "10", "queued 451 4.4.1 connect to a.two.test[192.0.2.10]:25: connection refused"},
		{"one does not exist, one is not known", "unsure.test", nil, "", "queued 451 4.4.3 the DNS did not answer for the domain"},
		{"we are the best", "own.test", nil, "", "bounced 554 5.4.6 mail for the domain comes back to this server"},
		{"we are among the best", "equal.test", nil, "", "bounced 554 5.4.6 mail for the domain comes back to this server"},
		{"we are the second", "backup.test", nil, "10", "queued 451 4.4.1 connect to a.two.test[192.0.2.10]:25: connection refused"},
		{"an address for a name", "number.test", map[string]func(net.Conn){"192.0.2.50": take}, "50", "relayed 250 2.0.0 ok"},
		{"addresses of nobody", "zero.test", nil, "", "bounced 550 5.4.4 no mail server of the domain has an address"},
		{"literal", "[192.0.2.60]", map[string]func(net.Conn){"192.0.2.60": take}, "60", "relayed 250 2.0.0 ok"},
		{"IPv6 literal", "[IPv6:2001:db8::61]", map[string]func(net.Conn){"2001:db8::61": take}, "61", "relayed 250 2.0.0 ok"},
		{"no literal", "[not an address]", nil, "", "bounced 550 5.1.2 the domain is not a name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			defer w.in(t)()
			w.net.only(row.hosts)
			m := w.send(letterTo("bob@"+row.domain), body)
			w.wait(1)
			w.want(m, row.want)
			var dialed []string
			for _, address := range w.net.dialed() {
				host, _, _ := net.SplitHostPort(address)
				dialed = append(dialed, host[strings.LastIndexAny(host, ".:")+1:])
			}
			if got := strings.Join(dialed, " "); got != row.dialed {
				t.Errorf("dialed %q, want %q", got, row.dialed)
			}
			w.idle()
		})
	}
	if n := w.dns.QueriesFor("null.test", dns.TypeA); n > 0 {
		t.Errorf("the address of a null MX's domain was asked for %d times", n)
	}
}

// TestRandomAmongEquals tries equals in the order that the resolver's shuffle gave.
func TestRandomAmongEquals(t *testing.T) {
	var zone strings.Builder
	for i := range 4 {
		fmt.Fprintf(&zone, "equals.test. 60 IN MX 10 h%d.equals.test.\nh%d.equals.test. 60 IN A 192.0.2.%d\n", i, i, i+1)
	}
	dnsServer := dnstest.Start(t, zone.String())
	turn := 0
	resolver, err := resolve.New(resolve.Config{Servers: []string{dnsServer.Addr()}}, resolve.Deps{Shuffle: func(n int, swap func(i, j int)) {
		for range turn {
			for i := range n - 1 {
				swap(i, i+1)
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	s := &Service{cfg: Config{Hostname: hostname, Port: 25}, deps: Deps{Resolve: resolver}}
	first := map[string]bool{}
	for turn = range 4 {
		hosts, err := s.hosts(t.Context(), "equals.test")
		if err != nil || len(hosts) != 4 {
			t.Fatal(hosts, err)
		}
		first[hosts[0].Name] = true
	}
	if len(first) != 4 {
		t.Errorf("%d different hosts came first in 4 turns, want 4", len(first))
	}
}

// TestUnknownOutcomeIsNotTriedElsewhere: the first host may have the message.
func TestUnknownOutcomeIsNotTriedElsewhere(t *testing.T) {
	w := newWorld(t, hostZone, nil)
	w.net.at("192.0.2.10", newScript(t, strings.ReplaceAll(upTo["dot"], "bob@example.net", "bob@two.test")+"close").serve)
	m := w.send(letterTo("bob@two.test"), body)
	w.wait(1)
	if got := w.states(m)[0]; !strings.HasPrefix(got, "queued 451 4.4.2 ") || !strings.Contains(got, "it may have arrived") {
		t.Errorf("state %q", got)
	}
	if got := w.net.dialed(); !slices.Equal(got, []string{"192.0.2.10:25"}) {
		t.Errorf("dialed %q", got)
	}
	if due := time.Unix(0, w.rows(m)[0].DueNs).Sub(w.now()); due < 50*time.Second || due > time.Minute {
		t.Errorf("due in %v, want the first of Retry", due)
	}
}

// TestSmartHost sends everything to one next hop, at its port, whose absence bounces nothing.
func TestSmartHost(t *testing.T) {
	w := newWorld(t, hostZone, func(w *world) { w.cfg.SmartHost = "b.two.test:2525" })
	take := taking(t)
	w.net.mu.Lock()
	w.net.hosts["192.0.2.20:2525"] = take
	w.net.mu.Unlock()
	w.send(letterTo("bob@null.test", "carol@nowhere.test"), body)
	for _, got := range w.wait(2) {
		if !strings.HasPrefix(got, "relayed ") {
			t.Error(got)
		}
	}
	w.stop()
	w.cfg.SmartHost = "gone.two.test:25"
	w.start()
	m := w.send(letterTo("bob@example.net"), body)
	w.wait(1)
	w.want(m, "queued 451 4.4.4 the next hop has no address")
}

func TestVerdictKeepsCausesToItself(t *testing.T) {
	err := fmt.Errorf("open /var/lib/secret: %w", errors.New("dial tcp 10.0.0.1:5432: SELECT"))
	if got := verdictOf(err); got != waits("451 4.3.0 local trouble") {
		t.Errorf("got %v", got)
	}
}
