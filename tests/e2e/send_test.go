package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestSwaksSends hands mail in as another server, as a user and by LMTP.
func TestSwaksSends(t *testing.T) {
	harness.Need(t, "swaks")
	f := harness.StartDev(t)
	for name, args := range map[string][]string{
		"mx":          {"--server", f.SMTP()},
		"mx-starttls": {"--server", f.SMTP(), "--tls"},
		"plain":       {"--server", f.Submission(), "--tls", "--auth", "PLAIN", "--auth-user", bob, "--auth-password", devPass},
		"login":       {"--server", f.Submission(), "--tls", "--auth", "LOGIN", "--auth-user", bob, "--auth-password", devPass},
		"implicit":    {"--server", f.SubmissionS(), "--tls-on-connect", "--auth", "PLAIN", "--auth-user", bob, "--auth-password", devPass},
		"lmtp":        {"--server", f.LMTP(), "--protocol", "LMTP"},
	} {
		t.Run(name, func(t *testing.T) {
			all := letters("swaks-"+name, bob, alice)
			p := harness.NewProgram(t)
			for _, l := range all {
				wire := filepath.Join(p.Home, "wire")
				if err := os.WriteFile(wire, onWire(l.raw), 0o600); err != nil {
					t.Fatal(err)
				}
				p.Run("swaks", append(args, "--from", bob, "--to", alice, "--no-data-fixup", "--data", "@"+wire)...)
			}
			f.Settle()
			wantLetters(t, inMailbox(f, alice, "INBOX"), all)
		})
	}
}

// onWire is DATA as swaks wants it, but for the last line end, which it adds.
func onWire(raw []byte) []byte {
	stuffed := bytes.ReplaceAll(raw, []byte("\r\n."), []byte("\r\n.."))
	return append(stuffed, '.')
}

// TestSwaksLMTPSaysEach checks that LMTP answers for each recipient, and that an unknown one does not stop the other.
func TestSwaksLMTPSaysEach(t *testing.T) {
	harness.Need(t, "swaks")
	f := harness.StartDev(t)
	p := harness.NewProgram(t)
	out := p.Run("swaks", "--server", f.LMTP(), "--protocol", "LMTP", "--from", carol, "--to", alice+",nobody@example.org,"+bob,
		"--header", "Subject: for-each")
	if n := strings.Count(string(out), "<-  250 2.0.0"); n != 2 {
		t.Errorf("%d recipients were answered for after the dot, want 2:\n%s", n, out)
	}
	f.Settle()
	for _, user := range []string{alice, bob} {
		harness.WantOnce(t, f.Mailbox(user, "INBOX"), []string{"for-each"})
	}
}

// TestSwaksIsRefused checks what must not work: logging in without TLS, a wrong password, another's address, relaying.
func TestSwaksIsRefused(t *testing.T) {
	harness.Need(t, "swaks")
	f := harness.StartDev(t)
	login := []string{"--server", f.Submission(), "--auth", "PLAIN", "--auth-user", bob, "--auth-password"}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no TLS":          {append(login, devPass, "--from", bob, "--to", alice), "*** Host did not advertise authentication"},
		"wrong password":  {append(login, "wrong", "--tls", "--from", bob, "--to", alice), "<~* 535 "},
		"another sender":  {append(login, devPass, "--tls", "--from", alice, "--to", alice), "<~* 553 5.7.1 "},
		"no login":        {[]string{"--server", f.Submission(), "--tls", "--from", bob, "--to", alice}, "<~* 530 "},
		"relaying":        {[]string{"--server", f.SMTP(), "--from", carol, "--to", "someone@elsewhere.example"}, "<** 550 5.7.1"},
		"unknown mailbox": {[]string{"--server", f.SMTP(), "--from", carol, "--to", "nobody@example.org"}, "<** 550 5.1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			out, complaint, err := harness.NewProgram(t).Try("swaks", c.args...)
			if said := string(out) + string(complaint); err == nil || !strings.Contains(said, c.want) {
				t.Errorf("swaks ended with %v, want it refused with %q:\n%s", err, c.want, said)
			}
		})
	}
	if a := f.Settle(); a.Accepted != 0 {
		t.Errorf("%d recipients were accepted", a.Accepted)
	}
}

// TestCurlSends hands mail in with curl, with STARTTLS and with TLS from the start.
func TestCurlSends(t *testing.T) {
	harness.Need(t, "curl")
	f := harness.StartDev(t)
	login := []string{"--cacert", f.CA(), "--user", bob + ":" + devPass}
	for name, args := range map[string][]string{
		"smtp":       {"smtp://" + f.SMTP()},
		"submission": append(login, "--ssl-reqd", "smtp://localhost:"+harness.Port(f.Submission())),
		"login":      append(login, "--ssl-reqd", "--login-options", "AUTH=LOGIN", "smtp://localhost:"+harness.Port(f.Submission())),
		"smtps":      append(login, "smtps://localhost:"+harness.Port(f.SubmissionS())),
	} {
		t.Run(name, func(t *testing.T) {
			all := letters("curl-"+name, bob, alice)
			p := harness.NewProgram(t)
			for _, l := range all {
				p.Run("curl", append(args, "--silent", "--show-error", "--mail-from", bob, "--mail-rcpt", alice, "--upload-file", l.file(t))...)
			}
			f.Settle()
			wantLetters(t, inMailbox(f, alice, "INBOX"), all)
		})
	}
}

// TestMsmtpSends hands mail in with msmtp and each mechanism that it knows of ours.
func TestMsmtpSends(t *testing.T) {
	harness.Need(t, "msmtp")
	f := harness.StartDev(t)
	for _, mechanism := range []string{"scram-sha-256", "plain", "login", "on"} {
		t.Run(mechanism, func(t *testing.T) {
			all := letters("msmtp-"+mechanism, bob, alice)
			p := harness.NewProgram(t)
			for _, l := range all {
				p.Stdin = l.raw
				p.Run("msmtp", "--host=localhost", "--port="+harness.Port(f.Submission()), "--tls=on", "--tls-starttls=on", "--tls-trust-file="+f.CA(),
					"--auth="+mechanism, "--user="+bob, "--passwordeval=echo "+devPass, "--from="+bob, alice)
			}
			f.Settle()
			wantLetters(t, inMailbox(f, alice, "INBOX"), all)
		})
	}
}
