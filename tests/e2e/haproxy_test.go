package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/resolve/dnstest"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// behind is a farm whose listeners are behind HAProxy, as deploy/compose has it.
type behind struct {
	*harness.Farm
	roles map[string]string // by the port in the configuration of compose, where the farm listens
	doors map[string]string // and HAProxy
}

// client is where clients come from in these tests.
const client = "127.0.0.7"

// newBehind starts a farm of dev's accounts behind a HAProxy with the configuration of compose, with other ports and names,
// and changed as given.
func newBehind(t *testing.T, change func(string) string) *behind {
	t.Helper()
	harness.Need(t, "haproxy")
	dev := harness.StartDev(t)
	if err := dev.Stop(); err != nil {
		t.Fatal(err)
	}
	b := &behind{roles: map[string]string{}, doors: map[string]string{}}
	for _, port := range []string{"2080", "2525", "2587", "2465", "2143", "2993", "2110", "2995", "8404"} {
		b.roles[port], b.doors[port] = harness.FreeAddr(t), harness.FreeAddr(t)
	}
	listen := func(port string, implicit bool) string {
		return fmt.Sprintf("{address: '%s', implicit_tls: %v, proxy: {trusted: [127.0.0.1/32]}}", b.roles[port], implicit)
	}
	b.Farm = harness.Run(t, dev.Data, fmt.Sprintf(`
hostname: localhost
http: %s
drain: {delay: 100ms}
ingress: {listeners: [%s]}
submission: {listeners: [%s, %s]}
imap: {listeners: [%s, %s]}
pop3: {listeners: [%s, %s]}
`, b.roles["2080"], listen("2525", false), listen("2587", false), listen("2465", true), listen("2143", false), listen("2993", true),
		listen("2110", false), listen("2995", true)))
	b.Launch()

	zone := ""
	for _, name := range []string{"ingress", "submission", "imap", "pop3"} {
		zone += name + ". 1 IN A 127.0.0.1\n"
	}
	shipped, err := os.ReadFile("../../deploy/compose/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	replace := []string{"127.0.0.11:53", dnstest.Start(t, zone).Addr(), "check port 2080", "check port " + portOf(b.roles["2080"])}
	for port := range b.doors {
		replace = append(replace, "bind :"+port+"\n", "bind "+b.doors[port]+"\n")
		for _, name := range []string{"ingress", "submission", "imap", "pop3"} {
			replace = append(replace, " "+name+":"+port+"\n", " "+name+":"+portOf(b.roles[port])+"\n")
		}
	}
	cfg := filepath.Join(t.TempDir(), "haproxy.cfg")
	write(t, cfg, change(strings.NewReplacer(replace...).Replace(string(shipped))))
	cmd := exec.Command("haproxy", "-db", "-f", cfg)
	var log output
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("log of haproxy:\n%s", log.String())
		}
	})
	return b
}

// output keeps what a process says.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// dial connects as a client, with TLS where it is given, and reads the greeting; until HAProxy has found the farm it asks
// again.
func (b *behind) dial(t *testing.T, addr string, secure *tls.Config, greeting string) *dialogue {
	t.Helper()
	var d *dialogue
	harness.Eventually(t, "greeted on "+addr, func() bool {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}}).DialContext(context.Background(), "tcp", addr)
		if err != nil {
			return false
		}
		c.SetDeadline(time.Now().Add(harness.Limit))
		if secure != nil {
			c = tls.Client(c, secure)
		}
		d = &dialogue{t, c, bufio.NewReader(c)}
		line, err := d.r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, greeting) {
			c.Close()
			return false
		}
		t.Cleanup(func() { c.Close() })
		return true
	})
	return d
}

// TestBehindHAProxy: through the configuration of compose every role knows its client, by either version of the header,
// before TLS too; nobody else is believed; and a drain is heard through it.
func TestBehindHAProxy(t *testing.T) {
	harness.OneProcess(t) // its listeners are the configuration\'s
	for _, version := range []struct{ name, option string }{{"version 2", "send-proxy-v2"}, {"version 1", "send-proxy"}} {
		t.Run(version.name, func(t *testing.T) {
			b := newBehind(t, func(cfg string) string { return strings.ReplaceAll(cfg, "send-proxy-v2", version.option) })
			secure := b.TLS()

			d := b.dial(t, b.doors["2525"], nil, "220 ")
			d.say("EHLO client.example\r\n", "250 ")
			d.say("MAIL FROM:<"+carol+">\r\n", "250 ")
			d.say("RCPT TO:<"+alice+">\r\n", "250 ")
			d.say("DATA\r\n", "354 ")
			d.say("From: "+carol+"\r\nSubject: through\r\nMessage-ID: <through@letters.example>\r\n\r\nHello.\r\n.\r\n", "250 ")
			d.say("QUIT\r\n", "221 ")
			b.Settle()
			b.Listen(b.doors["2993"])
			got := b.Mailbox(alice, "INBOX")
			if len(got) != 1 || !bytes.Contains(got[0].Raw, []byte("["+client+"]")) || bytes.Contains(got[0].Raw, []byte("[127.0.0.1]")) {
				t.Fatalf("%d letters; fields of the first:\n%.1200s", len(got), append(got, harness.Message{})[0].Raw)
			}

			for _, row := range []struct {
				port           string
				secure         *tls.Config
				greeting, says string
				answer, role   string
			}{
				{"2143", nil, "* OK", "a LOGOUT\r\n", "* BYE", ""},
				{"2993", secure, "* OK", "a LOGIN " + bob + " wrong\r\n", "a NO", "imap"},
				{"2110", nil, "+OK", "QUIT\r\n", "+OK", "pop3"},
				{"2995", secure, "+OK", "QUIT\r\n", "+OK", "pop3"},
				{"2587", nil, "220", "QUIT\r\n", "221", "submission"},
				{"2465", secure, "220", "QUIT\r\n", "221", "submission"},
			} {
				d := b.dial(t, b.doors[row.port], row.secure, row.greeting)
				d.say(row.says, row.answer)
				if row.role == "" {
					continue
				}
				harness.Eventually(t, "the client in the log of "+row.role, func() bool {
					for line := range strings.Lines(b.Log()) {
						if strings.Contains(line, "role="+row.role+" ") && strings.Contains(line, "client="+client) {
							return true
						}
					}
					return false
				})
			}

			// Who is not trusted is itself, and is hung up on when it says otherwise.
			direct := b.dial(t, b.roles["2525"], nil, "220 ")
			direct.say("EHLO client.example\r\n", "250 ")
			direct.say("QUIT\r\n", "221 ")
			forger := b.dial(t, b.roles["2525"], nil, "220 ")
			forger.send("PROXY TCP4 192.0.2.9 127.0.0.1 12345 25\r\nEHLO client.example\r\n")
			forger.gone()
			harness.Eventually(t, "the forger in the log", func() bool {
				return strings.Contains(b.Log(), "client="+client+" reason=proxy")
			})
			if strings.Contains(b.Log(), "192.0.2.9") {
				t.Error("a forged address is believed")
			}

			idle := b.dial(t, b.doors["2993"], secure, "* OK")
			idle.say("a LOGIN "+alice+" "+harness.DevPassword+"\r\n", "a OK")
			idle.say("b IDLE\r\n", "+ ")
			if out, code := b.CLIStatus("drain", "--data", b.Data); code != 0 || !strings.Contains(out, "drained") {
				t.Errorf("drain: exit status %d\n%s", code, out)
			}
			idle.want("* BYE")
			if !b.Ended(harness.Limit) {
				t.Error("the process goes on")
			}
		})
	}
}
