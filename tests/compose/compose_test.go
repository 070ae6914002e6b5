package compose

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/tests/harness"
)

const (
	alice = "alice@example.org"
	bob   = "bob@example.org"
)

// roles are the services whose containers are crashed one after the other: those of compose.yaml, and that of
// compose.small.yaml.
var roles = []string{"mailfarm", "directory", "store", "filter", "router", "delivery-local", "delivery-remote", "ingress", "submission", "imap", "pop3"}

// TestFarm sends and reads through HAProxy while parts of the farm die: whatever was accepted is in the mailbox once.
func TestFarm(t *testing.T) {
	s := open(t)
	smtpd, submissions, imaps, pop3s := s.address(2525), s.address(2465), s.address(2993), s.address(2995)
	run := fmt.Sprintf("farm-%d", time.Now().UnixNano())

	t.Run("a letter by each way, read by each way, traced with its client", func(t *testing.T) {
		// A farm that has been up for a while holds letters of earlier runs.
		before, err := s.inbox(imaps)
		if err != nil {
			t.Fatal(err)
		}
		names := []string{run + "-mx", run + "-msa"}
		if err := s.send(smtpd, names[0]); err != nil {
			t.Fatal(err)
		}
		if err := s.submit(submissions, names[1]); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "both letters by IMAP", func() bool {
			got, err := s.inbox(imaps)
			return err == nil && got[names[0]] == 1 && got[names[1]] == 1
		})
		total := 2
		for _, n := range before {
			total += n
		}
		if n, err := s.maildrop(pop3s); err != nil || n != total {
			t.Errorf("POP3 has %d messages (%v), want %d", n, err, total)
		}
		// Clients of published ports come from the network's gateway. HAProxy's own address would mean that nobody was told.
		proxy := s.networks("haproxy")
		for i, name := range names {
			found := s.trace(name + "@letters.example")
			if len(found) != 1 || found[0].Subject != name || (found[0].Account == bob) != (i == 1) {
				t.Fatalf("trace of %s finds %+v", name, found)
			}
			client, err := netip.ParseAddr(found[0].Client)
			if err != nil || client != proxy.gateway {
				t.Errorf("%s: client %q, want %v, the gateway; HAProxy is %v", name, found[0].Client, proxy.gateway, proxy.address)
			}
		}
	})

	l := startLoad(t, run, map[string]func(string) error{
		"mx-1": func(name string) error { return s.send(smtpd, name) }, "mx-2": func(name string) error { return s.send(smtpd, name) },
		"msa": func(name string) error { return s.submit(submissions, name) },
	})
	// goesOn waits until letters are accepted and read again, and says how long that took.
	goesOn := func(t *testing.T, since time.Time) {
		t.Helper()
		name := fmt.Sprintf("%s-after-%s", run, strings.ReplaceAll(t.Name(), "/", "-"))
		var last error
		tries := 0
		for deadline := time.Now().Add(patience); ; tries++ {
			try := fmt.Sprintf("%s-%d", name, tries)
			if last = s.send(smtpd, try); last == nil {
				name = try
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("no letter is accepted: %v", last)
			}
		}
		harness.Eventually(t, "a letter sent afterwards", func() bool {
			got, err := s.inbox(imaps)
			return err == nil && got[name] == 1
		})
		accepted, refused, why := l.count()
		t.Logf("a letter passed after %v; so far %d accepted, %d not (last: %v)", time.Since(since).Round(100*time.Millisecond), accepted, refused, why)
	}

	idle := s.idle(t, imaps)
	for _, role := range roles {
		if !s.has(role) {
			continue
		}
		t.Run("kill -9 of "+role, func(t *testing.T) {
			id := s.containers(role)[0]
			started := s.started(id)
			since := time.Now()
			s.crash(id)
			goesOn(t, since)
			harness.Eventually(t, role+" started again and healthy", func() bool { return s.started(id) != started && s.healthy(id) })
		})
	}
	t.Run("one node of the bus stopped", func(t *testing.T) {
		if !s.has("nats-2") {
			t.Skip("there is only one")
		}
		node := s.containers("nats-2")[0]
		since := time.Now()
		s.docker("stop", "--time", "10", node)
		goesOn(t, since)
		s.docker("start", node)
		harness.Eventually(t, "the node is healthy", func() bool { return s.healthy(node) })
	})
	t.Run("a delivery cut off and joined again", func(t *testing.T) {
		if !s.has("delivery-local") {
			t.Skip("it is no container of its own")
		}
		id, network := s.containers("delivery-local")[0], s.project+"_back"
		s.docker("network", "disconnect", network, id)
		before, _, _ := l.count()
		harness.Eventually(t, "letters are accepted meanwhile", func() bool {
			now, _, _ := l.count()
			return now > before+20
		})
		since := time.Now()
		s.docker("network", "connect", "--alias", "delivery-local", network, id)
		goesOn(t, since)
		harness.Eventually(t, "it is healthy", func() bool { return s.healthy(id) })
	})
	t.Run("an idle client is told, having reconnected", func(t *testing.T) {
		told := idle.count()
		if err := s.send(smtpd, run+"-idle"); err != nil {
			t.Logf("refused: %v", err) // the load goes on and tells too
		}
		harness.Eventually(t, "EXISTS", func() bool { return idle.count() > told })
	})

	l.stop()
	accepted, refused, why := l.count()
	t.Logf("%d letters accepted, %d not (last: %v)", accepted, refused, why)
	if accepted < 50 {
		t.Errorf("only %d letters were accepted: that shows little", accepted)
	}
	harness.Eventually(t, "every accepted letter once in the mailbox", func() bool {
		got, err := s.inbox(imaps)
		if err != nil {
			return false
		}
		for _, name := range l.accepted {
			if got[name] == 0 {
				return false
			}
		}
		return true
	})
	got, err := s.inbox(imaps)
	if err != nil {
		t.Fatal(err)
	}
	for subject, n := range got {
		if n != 1 {
			t.Errorf("%s is there %d times, want once", subject, n)
		}
	}
	harness.Eventually(t, "nothing pending or queued", func() bool {
		a := s.audit()
		return a.Pending == 0 && a.Queued == 0
	})
	if a := s.audit(); a.Unaccounted != 0 || a.Accepted != a.Delivered {
		t.Errorf("audit: %+v, want all delivered and none unaccounted for", a)
	}
	t.Run("a backup, and an account of it beside the one that lives", func(t *testing.T) {
		for i := range 4 { // together more than a container's /tmp holds
			if err := harness.Send(smtpd, "someone@example.net", []string{alice}, noise(fmt.Sprintf("%s-large-%d", run, i))); err != nil {
				t.Fatal(err)
			}
		}
		harness.Eventually(t, "the large letters", func() bool {
			got, err := s.inbox(imaps)
			return err == nil && got[run+"-large-0"]+got[run+"-large-1"]+got[run+"-large-2"]+got[run+"-large-3"] == 4
		})
		repository, before := "/backup/"+run, run+"@example.org"
		s.farm("mailfarm", "backup", "run", repository)
		s.farm("mailfarm", "backup", "verify", repository) // ends with status 1 where something is wrong
		s.farm("mailfarm", "restore", "account", alice, "--from", repository, "--as", before)
		want, got := s.folder(alice, "INBOX"), s.folder(before, "INBOX")
		if got.Messages != want.Messages || got.Size != want.Size || want.Messages < len(l.accepted) {
			t.Errorf("the account of the backup has %+v, that which lives %+v, and %d letters were accepted", got, want, len(l.accepted))
		}
	})
}

// noise is a letter of some 8 MB that nothing compresses well.
func noise(name string) []byte {
	random := make([]byte, 6<<20)
	rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%32.32s", name[max(0, len(name)-32):])))).Read(random)
	l := harness.Letter(name, "someone@example.net", alice)
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(random)), 76) {
		l = append(append(l, line...), '\r', '\n')
	}
	return l
}

// patience is how long a letter may be refused for after a fault. Far more than it takes: the figure is in the log.
const patience = 90 * time.Second

// place is where a container is in the front network.
type place struct{ address, gateway netip.Addr }

func (s *site) networks(service string) place {
	s.t.Helper()
	out := s.docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}", s.containers(service)[0])
	address, gateway, _ := strings.Cut(out, " ")
	var p place
	var err error
	if p.address, err = netip.ParseAddr(address); err == nil {
		p.gateway, err = netip.ParseAddr(gateway)
	}
	if err != nil {
		s.t.Fatalf("where %s is: %v", service, err)
	}
	return p
}

// idler is a client that stays in IDLE, and comes back when it is cut off.
type idler struct {
	mu   sync.Mutex
	told int // guarded by mu
}

func (i *idler) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.told
}

func (s *site) idle(t *testing.T, addr string) *idler {
	i := &idler{}
	quit := make(chan struct{})
	var done sync.WaitGroup
	session := func() {
		c, err := s.login(addr, &imapclient.UnilateralDataHandler{Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				i.mu.Lock()
				i.told++
				i.mu.Unlock()
			}
		}})
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := c.Select("INBOX", nil).Wait(); err != nil {
			return
		}
		waiting, err := c.Idle()
		if err != nil {
			return
		}
		ended := make(chan struct{})
		go func() {
			waiting.Wait()
			close(ended)
		}()
		select {
		case <-quit:
			waiting.Close()
			<-ended
		case <-ended:
		}
	}
	done.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(200 * time.Millisecond):
				session()
			}
		}
	})
	t.Cleanup(func() {
		close(quit)
		done.Wait()
	})
	return i
}

// TestNothingElseIsPublished: only HAProxy's ports are reachable from outside the farm, and on loopback.
func TestNothingElseIsPublished(t *testing.T) {
	s := open(t)
	if os.Getenv("MAILFARM_BIND") != "" {
		t.Skip("MAILFARM_BIND says where ports are published")
	}
	out := s.docker("ps", "--filter", "label=com.docker.compose.project="+s.project, "--format", `{{.Label "com.docker.compose.service"}} {{.Ports}}`)
	for line := range strings.Lines(out) {
		service, ports, _ := strings.Cut(strings.TrimSpace(line), " ")
		for port := range strings.SplitSeq(ports, ", ") {
			from, _, published := strings.Cut(port, "->")
			if !published {
				continue
			}
			host, _, err := net.SplitHostPort(from)
			if err != nil || host != "127.0.0.1" || (service != "haproxy" && service != "prometheus") {
				t.Errorf("%s publishes %s", service, port)
			}
		}
	}
}
