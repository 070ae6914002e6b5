package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// verb runs mailfarm apart from any farm.
func verb(t *testing.T, args ...string) (string, int) {
	t.Helper()
	p := harness.NewProgram(t)
	stdout, stderr, err := p.Try(harness.Binary(t), args...)
	return string(stdout) + string(stderr), harness.ExitCode(t, err)
}

// TestConfigCheck names every fault of a file at once, by key.
func TestConfigCheck(t *testing.T) {
	bad := harness.ConfigFile(t, `
hostname: "not a name"
http: nonsense
log: {level: loud, format: xml}
tls: {certificate_file: only-one.pem}
bus: {replicas: 2, ack_wait: 1ms}
router: {batch: -1}
delivery_remote: {smart_host: no-port}
ingress: {listeners: [{address: ""}]}
imap: {listeners: [{address: nowhere}], plaintext_networks: [everywhere]}
pop3: {listeners: [{address: nowhere}]}
submission: {plaintext_networks: [everywhere]}
directory: {password_min_length: 1000}
filter: {authserv_id: "two words"}
`)
	out, code := verb(t, "config", "check", bad)
	if code != 2 {
		t.Errorf("exit status %d, want 2", code)
	}
	for _, key := range []string{"hostname:", "http:", "log.level:", "log.format:", "tls:", "bus.replicas:", "bus.ack_wait:", "router.batch:",
		"delivery_remote.smart_host:", "ingress.listeners[0].address:", "imap.listeners[0].address:", "imap.plaintext_networks[0]:",
		"pop3.listeners[0].address:", "submission.plaintext_networks[0]:", "directory.password_min_length:"} {
		if !strings.Contains(out, key) {
			t.Errorf("no fault of %s is named", key)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
	for name, text := range map[string]string{
		"unknown key":   "router: {bathc: 5}\n",
		"no YAML":       "router: [\n",
		"two documents": "hostname: a\n---\nhostname: b\n",
	} {
		if out, code := verb(t, "config", "check", harness.ConfigFile(t, text)); code != 2 {
			t.Errorf("%s: exit status %d, want 2\n%s", name, code, out)
		}
	}
	if out, code := verb(t, "config", "check", filepath.Join(t.TempDir(), "nothing.yaml")); code != 2 || !strings.Contains(out, "nothing.yaml") {
		t.Errorf("a file that is not there: exit status %d\n%s", code, out)
	}
}

// TestConfigPrint prints what holds, marks what differs from the defaults, and prints it so that it can be read again.
func TestConfigPrint(t *testing.T) {
	file := harness.ConfigFile(t, "hostname: mx.example.org\nrouter: {give_up_after: 48h}\nimap: {listeners: [{address: '127.0.0.1:143'}]}\n")
	out, code := verb(t, "config", "print", "--config", file)
	if code != 0 {
		t.Fatalf("exit status %d\n%s", code, out)
	}
	for _, want := range []string{"give_up_after: 48h0m0s # default: 120h0m0s", "max_hops: 50\n", "address: 127.0.0.1:143"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not printed:\n%s", want, out)
		}
	}
	again, code := verb(t, "config", "check", harness.ConfigFile(t, out))
	if code != 0 {
		t.Errorf("what was printed is not good: exit status %d\n%s", code, again)
	}
}

// TestRunAll runs the shape for production on one machine, with a certificate of its own.
func TestRunAll(t *testing.T) {
	harness.OneProcess(t)
	dev := harness.StartDev(t) // makes a certificate, an account and its mail
	all := seed(t, dev, "moved", alice)
	if err := dev.Stop(); err != nil {
		t.Fatal(err)
	}
	smtp, imaps := harness.FreeAddr(t), harness.FreeAddr(t)
	tls := filepath.Join(dev.Data, "tls")
	f := harness.Run(t, dev.Data, fmt.Sprintf(`
hostname: localhost
http: none
tls: {certificate_file: %[1]s/server.pem, key_file: %[1]s/server.key}
ingress: {listeners: [{address: '%[2]s'}]}
imap: {listeners: [{address: '%[3]s', implicit_tls: true}]}
`, tls, smtp, imaps))
	f.Launch()
	harness.Eventually(t, "it listens", func() bool {
		c, err := net.Dial("tcp", smtp)
		if err == nil {
			c.Close()
		}
		return err == nil && f.Running()
	})
	if err := harness.Send(smtp, carol, []string{alice}, harness.Letter("by run all", carol, alice)); err != nil {
		t.Fatal(err)
	}
	f.Settle()
	f.Listen(imaps)
	got := f.Mailbox(alice, "INBOX")
	harness.WantOnce(t, got, []string{"by run all"})
	var raws [][]byte
	for _, m := range got {
		raws = append(raws, m.Raw)
	}
	wantLetters(t, raws, all)
	if err := f.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

// TestPublicListenerRefusesDevPassword starts what others can reach on a folder whose accounts have the password that
// everybody knows.
func TestPublicListenerRefusesDevPassword(t *testing.T) {
	harness.OneProcess(t)
	dev := harness.StartDev(t)
	if err := dev.Stop(); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(harness.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	public := fmt.Sprintf("hostname: localhost\nhttp: none\nimap: {listeners: [{address: '0.0.0.0:%s', implicit_tls: true}]}\n", port)
	f := harness.Run(t, dev.Data, public)
	f.Launch()
	if !f.Ended(harness.Limit) {
		t.Fatal("it runs with the password of `mailfarm dev` on an address that others can reach")
	}
	for _, want := range []string{"alice@example.org", "mailfarm dev", "0.0.0.0:" + port, "mailfarm account passwd"} {
		if !strings.Contains(f.Log(), want) {
			t.Errorf("the refusal does not say %q:\n%s", want, f.Log())
		}
	}

	dev.Start()
	for _, user := range []string{alice, bob} {
		if out, code := dev.CLIInput("another secret\n", "account", "passwd", user, "--password-file", "-"); code != 0 {
			t.Fatalf("account passwd: exit status %d\n%s", code, out)
		}
	}
	if err := dev.Stop(); err != nil {
		t.Fatal(err)
	}
	f.Launch()
	harness.Eventually(t, "it runs once the passwords are others", func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			c.Close()
		}
		return err == nil && f.Running()
	})
}

// TestRunRoles tells apart a role that does not exist and roles that need a farm.
func TestRunRoles(t *testing.T) {
	if out, code := verb(t, "run", "igress"); code != 2 || !strings.Contains(out, `no role is called "igress"`) || !strings.Contains(out, "delivery-remote") {
		t.Errorf("exit status %d\n%s", code, out)
	}
	if out, code := verb(t, "run", "ingress", "filter"); code != 2 || !strings.Contains(out, "mailfarm run all") ||
		!strings.Contains(out, "bus.servers") || !strings.Contains(out, "rpc.targets.directory") || strings.Contains(out, "database.url") {
		t.Errorf("exit status %d\n%s", code, out)
	}
}
