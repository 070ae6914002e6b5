package fault

import (
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/internal/servers"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// parts is a world whose farm is processes on servers that can be reached badly.
type parts struct {
	*world
	s3, database *servers.Proxy
}

// processes is how many of each role there are, where not one.
var processes = map[string]int{"store": 2, "router": 2, "delivery-local": 3, "ingress": 2, "imap": 2}

// partSettings are what differs from a farm's defaults: lost hints and dead writers are found in seconds, and the load comes
// from one address.
const partSettings = `
limits: {connections: {smtp: -1, submission: -1}, account: {messages_per_hour: -1, messages_per_day: -1, recipients_per_hour: -1, recipients_per_day: -1, connections: -1}}
database: {acquire_timeout: 2s, statement_timeout: 5s, idle_timeout: 5s}
blob: {s3: {heartbeat: 1s, dead_after: 3s, retry_for: 5s, request_timeout: 2s}}
`

func newParts(t *testing.T, processes map[string]int) *parts {
	t.Helper()
	peer := harness.NewPeer(t, "127.0.0.1:0")
	dns := dnstest.Start(t, peer.Zone("remote.example"))
	config := harness.ConfigFile(t, fmt.Sprintf(settings, harness.Port(peer.Addr))+partSettings)
	w := &parts{world: &world{peer: peer}}
	layout := harness.Layout{Processes: processes, Nodes: 3, OwnDatabase: true,
		S3:       func(endpoint string) string { return w.through(t, &w.s3, endpoint) },
		Database: func(u string) string { return w.through(t, &w.database, u) },
	}
	w.Farm = harness.Parts(t, layout, "--config", config, "--dns", dns.Addr())
	return w
}

// through puts a proxy before the server of a URL.
func (w *parts) through(t *testing.T, p **servers.Proxy, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	*p = servers.NewProxy(t, u.Host)
	u.Host = (*p).Addr()
	return u.String()
}

// trouble is something that befalls a farm under load, and ends again.
type trouble struct {
	name string
	// begin begins it; what it returns ends it.
	begin func(t *testing.T, w *parts) (end func())
	// lasts is how many letters are handed in meanwhile.
	lasts int
}

func killed(name string) trouble {
	return trouble{"kill -9 " + name, func(t *testing.T, w *parts) func() {
		p := w.Process(name)
		p.Kill()
		return func() { p.Start() }
	}, 100}
}

func paused(name string) trouble {
	return trouble{"pause " + name, func(t *testing.T, w *parts) func() {
		p := w.Process(name)
		p.Pause()
		return p.Resume
	}, 100}
}

// badly has a server be reached badly while so many letters are handed in; each may wait for half a minute.
func badly(name string, lasts int, which func(*parts) *servers.Proxy, m servers.Mode) trouble {
	return trouble{name, func(t *testing.T, w *parts) func() {
		which(w).Set(m)
		return func() { which(w).Set(servers.Mode{}) }
	}, lasts}
}

func s3Proxy(w *parts) *servers.Proxy       { return w.s3 }
func databaseProxy(w *parts) *servers.Proxy { return w.database }

// troubles are what a farm must outlive.
func troubles() []trouble {
	all := []trouble{}
	for _, role := range []string{"directory", "store", "filter", "router", "delivery-local", "delivery-remote", "ingress", "submission", "imap", "pop3"} {
		all = append(all, killed(role))
	}
	return append(all,
		paused("store"), paused("router-2"), paused("ingress-2"),
		trouble{"kill -9 one NATS node", func(t *testing.T, w *parts) func() {
			w.Servers.Bus.Kill(0)
			return func() { w.Servers.Bus.Start(0) }
		}, 100},
		trouble{"NATS cluster wiped", func(t *testing.T, w *parts) func() {
			w.Servers.Bus.Wipe()
			return func() {}
		}, 100},
		trouble{"NATS away", func(t *testing.T, w *parts) func() {
			for i := range w.Servers.Bus.Nodes() {
				w.Servers.Bus.Kill(i)
			}
			return w.Servers.Bus.StartAll
		}, 60},
		trouble{"PostgreSQL restarted in immediate mode", func(t *testing.T, w *parts) func() {
			w.Servers.Database.Restart(t, true)
			return func() {}
		}, 100},
		trouble{"PostgreSQL away", func(t *testing.T, w *parts) func() {
			w.Servers.Database.Stop(t, true)
			return func() { w.Servers.Database.Start(t) }
		}, 40},
		badly("network to PostgreSQL cut", 20, databaseProxy, servers.Mode{Stall: true}),
		badly("S3 refuses connections", 60, s3Proxy, servers.Mode{Refuse: true}),
		badly("S3 slow", 100, s3Proxy, servers.Mode{Delay: 300 * time.Millisecond}),
		badly("S3 loses connections in the middle of a PUT", 60, s3Proxy, servers.Mode{CutAfter: 3000}),
		badly("network to S3 cut", 60, s3Proxy, servers.Mode{Stall: true}),
	)
}

// TestFarm lets everything happen to a farm, one after another, under load and with readers, and looks afterwards whether
// each letter that got a 250 is where it belongs exactly once. MAILFARM_FAULTS names some of them; MAILFARM_RELIABILITY
// is a file that the table of what was measured is written to.
func TestFarm(t *testing.T) {
	w := newParts(t, processes)
	w.startAtOdds()
	w.prepare()
	readers := w.read(t)
	var table []string
	for _, tr := range troubles() {
		if only := os.Getenv("MAILFARM_FAULTS"); only != "" && !strings.Contains(tr.name, only) {
			continue
		}
		table = append(table, w.befall(t, tr))
		if t.Failed() {
			break
		}
	}
	sessions, failures := readers()
	w.check(t)
	a := w.Audit()
	var answered int
	for _, l := range w.letters {
		if l.answered {
			answered++
		}
	}
	summary := fmt.Sprintf("%d letters handed in, %d of them answered 250; %d IMAP sessions, %d of them cut short; unaccounted recipients: %d",
		len(w.letters), answered, sessions, failures, a.Unaccounted)
	t.Log(summary)
	for _, row := range table {
		t.Log(row)
	}
	if path := os.Getenv("MAILFARM_RELIABILITY"); path != "" && !t.Failed() {
		text := summary + "\n\n| fault | letters | answered 250 | recovery |\n|---|---|---|---|\n" + strings.Join(table, "\n") + "\n"
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// startAtOdds starts the farm with clocks that are a minute ahead, a minute behind, and right. They stay so until a process is
// started again.
func (w *parts) startAtOdds() {
	for i, p := range w.Processes() {
		p.Launch("MAILFARM_CLOCK_AHEAD=" + []string{"1m", "-1m", "0s"}[i%3])
	}
	for _, p := range w.Processes() {
		p.WaitReady()
	}
}

// times is by what MAILFARM_LETTERS multiplies the letters: the long form.
var times = sync.OnceValue(func() int {
	n, err := strconv.Atoi(os.Getenv("MAILFARM_LETTERS"))
	if err != nil || n < 1 {
		return 1
	}
	return n
})

// befall hands letters in while the trouble lasts, and then measures how long it takes until one is taken and delivered.
func (w *parts) befall(t *testing.T, tr trouble) string {
	t.Helper()
	tr.lasts *= times()
	w.load(tr.lasts/2, func(int64) {})
	before := len(w.letters)
	end := tr.begin(t, w)
	w.load(tr.lasts, func(int64) {})
	answered, kinds := 0, map[string]int{}
	for _, l := range w.letters[before:] {
		if l.answered {
			answered++
			kinds[l.kind]++
		}
	}
	t.Logf("%s: answered 250 meanwhile: %v", tr.name, kinds)
	end()
	start := time.Now()
	w.mustDeliver(t)
	took := time.Since(start)
	for _, p := range w.Processes() {
		p.WaitReady()
	}
	row := fmt.Sprintf("| %s | %d | %d | %.1f s |", tr.name, tr.lasts, answered, took.Seconds())
	t.Log(row)
	return row
}

// mustDeliver hands in until one letter is accepted, and waits until it can be read.
func (w *parts) mustDeliver(t *testing.T) {
	t.Helper()
	probe := kind{name: "probe", send: toMX(bob, 0)}
	var l *letter
	harness.Eventually(t, "a letter to be accepted", func() bool {
		w.hand(probe)
		l = w.letters[len(w.letters)-1]
		return l.answered
	})
	harness.Eventually(t, "the letter "+l.name, func() bool { return w.finds(bob, l.name) })
}

// finds tells whether an INBOX has a message with the Subject, by asking the server.
func (w *parts) finds(user, subject string) bool {
	c, err := w.login(w.IMAPS(), user)
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		return false
	}
	found, err := c.Search(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: subject}}}, nil).Wait()
	return err == nil && len(found.AllSeqNums()) > 0
}

// login opens a session; errNotLetIn where the process let nobody in.
func (w *parts) login(addr, user string) (*imapclient.Client, error) {
	c, err := imapclient.DialTLS(addr, &imapclient.Options{TLSConfig: w.TLS()})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotLetIn, err)
	}
	if err := c.Login(user, harness.DevPassword).Wait(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// read reads mailboxes through all imap processes until what it returns is called, which tells how many sessions there were
// and how many of them broke off.
func (w *parts) read(t *testing.T) (stop func() (sessions, failures int64)) {
	t.Helper()
	var sessions, failures atomic.Int64
	ended := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		addr, user := w.At(w.IMAPS(), i%processes["imap"]), []string{alice, bob}[i%2]
		wg.Go(func() {
			for {
				sessions.Add(1)
				if !w.session(addr, user, ended) {
					failures.Add(1)
				}
				select {
				case <-ended:
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	return func() (int64, int64) {
		close(ended)
		wg.Wait()
		return sessions.Load(), failures.Load()
	}
}

// session selects INBOX, looks at it for a while, and tells whether all went well.
func (w *parts) session(addr, user string, ended <-chan struct{}) bool {
	c, err := w.login(addr, user)
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		return false
	}
	all := imap.UIDSet{}
	all.AddRange(1, 0)
	if _, err := c.Fetch(all, &imap.FetchOptions{Flags: true, UID: true}).Collect(); err != nil {
		return false
	}
	for range 20 {
		if c.Noop().Wait() != nil {
			return false
		}
		select {
		case <-ended:
			return true
		case <-time.After(250 * time.Millisecond):
		}
	}
	return c.Logout().Wait() == nil
}
