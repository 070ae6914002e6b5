package harness

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/pki"
)

// Postfix is a Postfix of its own: its configuration, queue and mailboxes are in a folder of the test.
type Postfix struct {
	t      testing.TB
	Addr   string
	dir    string
	policy *policy
}

// postfixMain is main.cf. Nothing in it leaves this machine: what is not for Domain goes to Relay.
const postfixMain = `
compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
myhostname = %[2]s
mydestination =
local_recipient_maps =
local_transport = error:no local mail
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
virtual_mailbox_domains = %[3]s
virtual_mailbox_base = %[1]s/mail
virtual_mailbox_maps = texthash:%[1]s/users
virtual_minimum_uid = 1
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions = check_policy_service inet:%[4]s, permit_mynetworks, reject
default_transport = error:no outbound mail
transport_maps = inline:{ %[5]s }
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
message_size_limit = 20480000
smtp_line_length_limit = 0
virtual_mailbox_limit = 0
smtpd_tls_security_level = may
smtpd_tls_cert_file = %[1]s/tls/mx.pem
smtpd_tls_key_file = %[1]s/tls/mx.key
smtpd_tls_received_header = yes
smtp_tls_security_level = may
`

// StartPostfix starts a Postfix on addr ("127.0.0.2:2525") that has mailboxes for users of domain, and sends mail for
// example.org to mx. It ends with the test.
func StartPostfix(t testing.TB, addr, domain, mx string, users ...string) *Postfix {
	t.Helper()
	Need(t, "postfix")
	NeedRoot(t, "start a Postfix")
	dir, err := os.MkdirTemp("", "postfix") // the testing package's folders are closed to the user that Postfix runs as
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &Postfix{t: t, Addr: addr, dir: dir, policy: startPolicy(t)}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	mxHost, mxPort, _ := net.SplitHostPort(mx)
	route := fmt.Sprintf("{example.org=smtp:[%s]:%s}", mxHost, mxPort)
	if err := errors.Join(
		os.Chmod(dir, 0o755),
		p.prepare(domain, users),
		p.write("conf/main.cf", fmt.Sprintf(postfixMain, dir, "mx."+domain, domain, p.policy.addr, route)),
		p.master(host, port),
	); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("log of Postfix:\n%s", tail(log))
		}
	})
	t.Cleanup(p.Stop)
	p.Start()
	return p
}

func (p *Postfix) prepare(domain string, users []string) error {
	var errs []error
	for _, folder := range []string{"conf", "queue", "data", "mail"} {
		errs = append(errs, os.Mkdir(filepath.Join(p.dir, folder), 0o755))
	}
	own := func(user, folder string) error {
		return exec.Command("chown", user, filepath.Join(p.dir, folder)).Run()
	}
	errs = append(errs, own("postfix", "data"), own("65534:65534", "mail"))
	ca, err := pki.Open(filepath.Join(p.dir, "tls"))
	if err != nil {
		return err
	}
	_, err = ca.Issue("mx", pki.Server, "mx."+domain)
	errs = append(errs, err)
	var table strings.Builder
	for _, u := range users {
		fmt.Fprintf(&table, "%[1]s@%[2]s %[1]s/\n", u, domain)
	}
	return errors.Join(append(errs, p.write("users", table.String()))...)
}

func (p *Postfix) write(name, content string) error {
	return os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o644)
}

// master makes master.cf from the one that the package ships: SMTP on our address and port, and nothing in a chroot.
func (p *Postfix) master(host, port string) error {
	shipped, err := os.ReadFile("/usr/share/postfix/master.cf.dist")
	if err != nil {
		return err
	}
	var out strings.Builder
	for line := range strings.Lines(string(shipped)) {
		f := strings.Fields(line)
		if len(f) < 8 || strings.HasPrefix(line, "#") || line[0] == ' ' {
			out.WriteString(line)
			continue
		}
		if f[0] == "smtp" && f[1] == "inet" {
			f[0] = net.JoinHostPort(host, port)
		}
		f[4] = "n"
		out.WriteString(strings.Join(f, " ") + "\n")
	}
	return p.write("conf/master.cf", out.String())
}

// Start starts it, if it does not run.
func (p *Postfix) Start() {
	p.t.Helper()
	if p.listens() {
		return
	}
	p.command("start")
	Eventually(p.t, "Postfix listens", p.listens)
}

// Stop stops it, if it runs.
func (p *Postfix) Stop() {
	p.t.Helper()
	if !p.listens() {
		return
	}
	p.command("stop")
	Eventually(p.t, "Postfix is gone", func() bool { return !p.listens() })
}

// Flush makes it try its queue now.
func (p *Postfix) Flush() {
	p.t.Helper()
	p.command("flush")
}

func (p *Postfix) command(verb string) {
	p.t.Helper()
	cmd := exec.Command("postfix", "-c", filepath.Join(p.dir, "conf"), verb)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("postfix %s: %v\n%s", verb, err, out)
	}
}

func (p *Postfix) listens() bool {
	c, err := net.Dial("tcp", p.Addr)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// Answer makes it answer RCPT for a recipient with an action of access(5), as "DEFER_IF_PERMIT 4.2.1 later" or
// "REJECT 5.7.1 never"; an empty action lifts it.
func (p *Postfix) Answer(recipient, action string) { p.policy.set(recipient, action) }

// Asked is how often RCPT was said for a recipient.
func (p *Postfix) Asked(recipient string) int { return p.policy.asked(recipient) }

// Log is what it logged.
func (p *Postfix) Log() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// Mailbox reads a user's messages, oldest first, with the line ends of the wire.
func (p *Postfix) Mailbox(user string) [][]byte {
	p.t.Helper()
	return Maildir(p.t, filepath.Join(p.dir, "mail", user))
}

// Find returns the message of a user with the Subject once it is there.
func (p *Postfix) Find(user, subject string) []byte {
	p.t.Helper()
	var found []byte
	Eventually(p.t, fmt.Sprintf("%q in the mailbox of %s at Postfix", subject, user), func() bool {
		for _, m := range p.Mailbox(user) {
			if bytes.Contains(m, []byte("\r\nSubject: "+subject+"\r\n")) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// Maildir reads all messages below a maildir, with the line ends of the wire.
func Maildir(t testing.TB, dir string) [][]byte {
	t.Helper()
	var messages [][]byte
	for _, sub := range []string{"new", "cur"} {
		files, err := filepath.Glob(filepath.Join(dir, sub, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			messages = append(messages, CRLF(raw))
		}
	}
	return messages
}

// CRLF gives text that a program stored in the way of Unix the line ends of the wire again.
func CRLF(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
}
