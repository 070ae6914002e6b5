package compose

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// site is a running farm as clients and operators see it.
type site struct {
	t        testing.TB
	script   string
	project  string
	password string
	tls      *tls.Config
}

// open finds the farm that the environment names.
func open(t testing.TB) *site {
	project := os.Getenv("MAILFARM_COMPOSE_PROJECT")
	if project == "" {
		t.Skip("MAILFARM_COMPOSE_PROJECT names no farm: `make farm-test` starts one")
	}
	script, err := filepath.Abs("../../deploy/compose/farm")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, script: script, project: project}
	s.password = strings.TrimSpace(s.farm("password"))
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(s.farm("ca"))) {
		t.Fatal("the farm's authority is no certificate")
	}
	s.tls = &tls.Config{RootCAs: pool, ServerName: "localhost"}
	return s
}

// farm runs deploy/compose/farm and returns what it prints.
func (s *site) farm(args ...string) string {
	s.t.Helper()
	cmd := exec.Command(s.script, args...)
	cmd.Env = append(os.Environ(), "PROJECT="+s.project)
	return s.run(cmd)
}

func (s *site) docker(args ...string) string {
	s.t.Helper()
	return strings.TrimSpace(s.run(exec.Command("docker", args...)))
}

func (s *site) run(cmd *exec.Cmd) string {
	s.t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, stderr.String())
	}
	return string(out)
}

// containers of a service that are there, running or not.
func (s *site) containers(service string) []string {
	s.t.Helper()
	ids := s.list(service)
	if len(ids) == 0 {
		s.t.Fatalf("the farm has no container of %s", service)
	}
	return ids
}

// has tells whether the farm has a service.
func (s *site) has(service string) bool {
	s.t.Helper()
	return len(s.list(service)) > 0
}

func (s *site) list(service string) []string {
	s.t.Helper()
	return strings.Fields(s.docker("ps", "-aq", "--filter", "label=com.docker.compose.project="+s.project, "--filter", "label=com.docker.compose.service="+service))
}

// crash ends a container's process without a word. The engine starts it again.
func (s *site) crash(id string) {
	s.t.Helper()
	if os.Geteuid() == 0 {
		pid, err := strconv.Atoi(s.docker("inspect", "--format", "{{.State.Pid}}", id))
		if err == nil && pid > 1 {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil {
			s.t.Fatalf("kill the process of container %s: %v", id, err)
		}
		return
	}
	// The engine takes this for an order, and does not start it again by itself.
	s.docker("kill", "--signal", "KILL", id)
	s.docker("start", id)
}

func (s *site) healthy(id string) bool {
	return s.docker("inspect", "--format", "{{.State.Health.Status}}", id) == "healthy"
}

// started is when the engine has last started a container's process.
func (s *site) started(id string) string {
	return s.docker("inspect", "--format", "{{.State.StartedAt}}", id)
}

// address of a published port of HAProxy.
func (s *site) address(port int) string {
	s.t.Helper()
	out := s.docker("port", s.containers("haproxy")[0], fmt.Sprintf("%d/tcp", port))
	addr, _, _ := strings.Cut(out, "\n")
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		s.t.Fatalf("published port %d: %v", port, err)
	}
	return net.JoinHostPort("localhost", p)
}

// send hands in a letter as another server would.
func (s *site) send(addr, name string) error {
	return harness.Send(addr, "someone@example.net", []string{alice}, harness.Letter(name, "someone@example.net", alice))
}

// submit hands in a letter as bob.
func (s *site) submit(addr, name string) error {
	c, err := smtp.DialTLS(addr, s.tls)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", bob, s.password)); err != nil {
		return fmt.Errorf("AUTH: %w", err)
	}
	if err := harness.SendOn(c, bob, []string{alice}, harness.Letter(name, bob, alice), nil, nil); err != nil {
		return err
	}
	c.Quit()
	return nil
}

// login opens an IMAP session of alice.
func (s *site) login(addr string, handler *imapclient.UnilateralDataHandler) (*imapclient.Client, error) {
	c, err := imapclient.DialTLS(addr, &imapclient.Options{TLSConfig: s.tls, UnilateralDataHandler: handler})
	if err != nil {
		return nil, err
	}
	if err := c.Login(alice, s.password).Wait(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// inbox tells how often each Subject is in alice's INBOX.
func (s *site) inbox(addr string) (map[string]int, error) {
	c, err := s.login(addr, nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	data, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		return nil, err
	}
	subjects := map[string]int{}
	if data.NumMessages == 0 {
		return subjects, nil
	}
	var all imap.SeqSet
	all.AddRange(1, data.NumMessages)
	got, err := c.Fetch(all, &imap.FetchOptions{Envelope: true}).Collect()
	for _, m := range got {
		subjects[m.Envelope.Subject]++
	}
	return subjects, err
}

// maildrop is how many messages POP3 has for alice.
func (s *site) maildrop(addr string) (int, error) {
	nc, err := tls.Dial("tcp", addr, s.tls)
	if err != nil {
		return 0, err
	}
	c := textproto.NewConn(nc)
	defer c.Close()
	if _, err := c.ReadLine(); err != nil {
		return 0, err
	}
	var last string
	for _, command := range []string{"USER " + alice, "PASS " + s.password, "STAT"} {
		if err := c.PrintfLine("%s", command); err != nil {
			return 0, err
		}
		if last, err = c.ReadLine(); err != nil {
			return 0, err
		}
		verb, _, _ := strings.Cut(command, " ")
		if !strings.HasPrefix(last, "+OK") {
			return 0, fmt.Errorf("%s: %s", verb, last)
		}
	}
	var n, size int
	if _, err := fmt.Sscanf(last, "+OK %d %d", &n, &size); err != nil {
		return 0, fmt.Errorf("STAT: %q: %w", last, err)
	}
	return n, c.PrintfLine("QUIT")
}

// audit is what `mailfarm audit` counts.
type audit struct {
	Accepted    uint64 `json:"accepted"`
	Delivered   uint64 `json:"delivered"`
	Pending     uint64 `json:"pending"`
	Queued      uint64 `json:"queued"`
	Unaccounted uint64 `json:"unaccounted"`
}

func (s *site) audit() (a audit) {
	s.t.Helper()
	out := s.farm("mailfarm", "audit", "--json")
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		s.t.Fatalf("audit: %v\n%s", err, out)
	}
	return a
}

// folder is what `mailfarm mailbox stat` says of one.
type folder struct {
	Messages int   `json:"messages"`
	Size     int64 `json:"size"`
}

func (s *site) folder(account, name string) (f folder) {
	s.t.Helper()
	out := s.farm("mailfarm", "mailbox", "stat", account, name, "--json")
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		s.t.Fatalf("mailbox stat: %v\n%s", err, out)
	}
	return f
}

// entry is a message as `mailfarm trace` tells it.
type entry struct {
	Subject string `json:"subject"`
	Client  string `json:"client"`
	Account string `json:"account"`
}

func (s *site) trace(messageID string) []entry {
	s.t.Helper()
	var found []entry
	out := s.farm("mailfarm", "trace", "--message-id", messageID, "--json")
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		s.t.Fatalf("trace: %v\n%s", err, out)
	}
	return found
}
