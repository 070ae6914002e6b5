package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestCurlReads reads by IMAP and POP3, with STARTTLS and TLS from the start.
func TestCurlReads(t *testing.T) {
	harness.Need(t, "curl")
	f := harness.StartDev(t)
	all := seed(t, f, "curl", alice)
	for name, c := range map[string]struct{ url, reach string }{
		"imaps":         {"imaps://localhost:" + harness.Port(f.IMAPS()) + "/INBOX;MAILINDEX=%d", ""},
		"imap-starttls": {"imap://localhost:" + harness.Port(f.IMAP()) + "/INBOX;UID=%d", "--ssl-reqd"},
		"pop3s":         {"pop3s://localhost:" + harness.Port(f.POP3S()) + "/%d", ""},
		"pop3-stls":     {"pop3://localhost:" + harness.Port(f.POP3()) + "/%d", "--ssl-reqd"},
	} {
		t.Run(name, func(t *testing.T) {
			p := harness.NewProgram(t)
			var got [][]byte
			for i := range all {
				args := []string{"--silent", "--show-error", "--cacert", f.CA(), "--user", alice + ":" + devPass, fmt.Sprintf(c.url, i+1)}
				if c.reach != "" {
					args = append(args, c.reach)
				}
				got = append(got, p.Run("curl", args...))
			}
			wantLetters(t, got, all)
		})
	}
	t.Run("and works by IMAP", func(t *testing.T) {
		p := harness.NewProgram(t)
		imaps := func(path string, args ...string) string {
			t.Helper()
			return string(p.Run("curl", append([]string{"--silent", "--show-error", "--cacert", f.CA(), "--user", alice + ":" + devPass,
				"imaps://localhost:" + harness.Port(f.IMAPS()) + path}, args...)...))
		}
		want := func(got, part string) {
			t.Helper()
			if !strings.Contains(got, part) {
				t.Errorf("curl was answered %q, want %q", got, part)
			}
		}
		imaps("/", "-X", "CREATE Made/Here")
		want(imaps("/", "-X", `LIST "" *`), `"/" Made/Here`)
		written := letters("curl-wrote", alice, bob)[2]
		imaps("/Made/Here", "-T", written.file(t))
		wantLetters(t, [][]byte{append([]byte("Return-Path: <>\r\n"), []byte(imaps("/Made/Here;MAILINDEX=1"))...)}, []letter{written})
		want(imaps("/INBOX?SUBJECT%20curl-dots"), "* SEARCH 2\r\n")
		want(imaps("/INBOX?BODY%20attached."), "* SEARCH 7\r\n")
		want(imaps("/INBOX;MAILINDEX=1;SECTION=HEADER.FIELDS%20(SUBJECT)"), "Subject: curl-plain\r\n")
		want(imaps("/INBOX", "-X", `STORE 1 +FLAGS (\Flagged $Curl)`), `\Flagged`)
		want(imaps("/INBOX", "-X", "STATUS Made/Here (MESSAGES UNSEEN)"), "MESSAGES 1 UNSEEN")
		imaps("/INBOX", "-X", "MOVE 3 Made/Here")
		want(imaps("/Made/Here?ALL"), "* SEARCH 1 2\r\n")
		if flags := flagsOf(t, f, alice, "INBOX"); len(flags) != len(all)-1 || !strings.Contains(flags[1], "$Curl") {
			t.Errorf("INBOX has the flags %v", flags)
		}
	})
	t.Run("and works by POP3", func(t *testing.T) {
		p := harness.NewProgram(t)
		pop3s := func(path string, args ...string) string {
			t.Helper()
			return string(p.Run("curl", append([]string{"--silent", "--show-error", "--cacert", f.CA(), "--user", alice + ":" + devPass,
				"pop3s://localhost:" + harness.Port(f.POP3S()) + "/" + path}, args...)...))
		}
		left := len(all) - 1
		for command, lines := range map[string]int{"": left, "UIDL": left} {
			args := []string{"-X", command}
			if command == "" {
				args = nil
			}
			if got := pop3s("", args...); strings.Count(got, "\r\n") != lines {
				t.Errorf("%q is answered with %q, want %d lines", command, got, lines)
			}
		}
		if got := pop3s("", "-X", "TOP 2 0"); !strings.Contains(got, "Subject: curl-dots\r\n") {
			t.Errorf("TOP is answered with %q", got)
		}
		pop3s("2", "-X", "DELE", "--head")
		if now := f.Mailbox(alice, "INBOX"); len(now) != left-1 {
			t.Errorf("%d messages are left, want %d", len(now), left-1)
		}
	})
	t.Run("no TLS", func(t *testing.T) {
		for _, url := range []string{"imap://" + f.IMAP() + "/INBOX", "pop3://" + f.POP3() + "/1"} {
			if out, _, err := harness.NewProgram(t).Try("curl", "--silent", "--user", alice+":"+devPass, url); err == nil {
				t.Errorf("%s could be read without TLS:\n%s", url, out)
			}
		}
	})
}

// TestMpopReads fetches by POP3 with each mechanism that mpop knows of ours.
func TestMpopReads(t *testing.T) {
	harness.Need(t, "mpop")
	f := harness.StartDev(t)
	all := seed(t, f, "mpop", alice)
	for _, mechanism := range []string{"scram-sha-256", "plain", "user"} {
		t.Run(mechanism, func(t *testing.T) {
			p := harness.NewProgram(t)
			box := makeMaildir(t, filepath.Join(p.Home, "box"))
			p.Run("mpop", "--host=localhost", "--port="+harness.Port(f.POP3()), "--tls=on", "--tls-starttls=on", "--tls-trust-file="+f.CA(),
				"--auth="+mechanism, "--user="+alice, "--passwordeval=echo "+devPass, "--delivery=maildir,"+box, "--keep=on", "--received-header=off")
			wantLetters(t, harness.Maildir(t, box), all)
		})
	}
	t.Run("and deletes", func(t *testing.T) {
		p := harness.NewProgram(t)
		box := makeMaildir(t, filepath.Join(p.Home, "box"))
		p.Run("mpop", "--host=localhost", "--port="+harness.Port(f.POP3S()), "--tls=on", "--tls-starttls=off", "--tls-trust-file="+f.CA(),
			"--auth=plain", "--user="+alice, "--passwordeval=echo "+devPass, "--delivery=maildir,"+box, "--keep=off", "--received-header=off")
		wantLetters(t, harness.Maildir(t, box), all)
		if left := f.Mailbox(alice, "INBOX"); len(left) != 0 {
			t.Errorf("%d messages are left", len(left))
		}
	})
}

func makeMaildir(t *testing.T, dir string) string {
	t.Helper()
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestFetchmailReads fetches by POP3 and by IMAP.
func TestFetchmailReads(t *testing.T) {
	harness.Need(t, "fetchmail")
	f := harness.StartDev(t)
	all := seed(t, f, "fetchmail", alice)
	for protocol, addr := range map[string]string{"pop3": f.POP3S(), "imap": f.IMAPS()} {
		t.Run(protocol, func(t *testing.T) {
			p := harness.NewProgram(t)
			box := filepath.Join(p.Home, "new") // read as a maildir below
			if err := os.Mkdir(box, 0o700); err != nil {
				t.Fatal(err)
			}
			rc := filepath.Join(p.Home, "fetchmailrc")
			write(t, rc, fmt.Sprintf("set no bouncemail\nset invisible\npoll localhost protocol %s service %s auth password\n"+
				"user %q password %q ssl sslcertfile %q sslcertck keep fetchall no rewrite mda \"cat > %s/$$\"\n",
				protocol, harness.Port(addr), alice, devPass, f.CA(), box))
			p.Run("fetchmail", "--fetchmailrc", rc, "--pidfile", filepath.Join(p.Home, "pid"), "--nosyslog")
			wantLetters(t, harness.Maildir(t, p.Home), all)
		})
	}
}

// TestFetchmailWaits lets fetchmail take what is there, remove it and wait in IDLE: what comes then is fetched and removed too.
func TestFetchmailWaits(t *testing.T) {
	harness.Need(t, "fetchmail")
	f := harness.StartDev(t)
	all := seed(t, f, "fetchmail", alice)
	p := harness.NewProgram(t)
	box := filepath.Join(p.Home, "new")
	if err := os.Mkdir(box, 0o700); err != nil {
		t.Fatal(err)
	}
	rc := filepath.Join(p.Home, "fetchmailrc")
	write(t, rc, fmt.Sprintf("set no bouncemail\nset invisible\npoll localhost protocol imap service %s auth password\n"+
		"user %q password %q ssl sslcertfile %q sslcertck nokeep idle no rewrite mda \"cat > %s/tmp.$$ && mv %[5]s/tmp.$$ %[5]s/$$\"\n",
		harness.Port(f.IMAPS()), alice, devPass, f.CA(), box))
	cmd := exec.Command("fetchmail", "--nodetach", "--fetchmailrc", rc, "--pidfile", filepath.Join(p.Home, "pid"), "--nosyslog")
	cmd.Env = append(os.Environ(), "HOME="+p.Home)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		cmd.Process.Kill()
		<-ended
	}()
	gone := func() {
		t.Helper()
		harness.Eventually(t, "fetchmail to take all", func() bool { return len(flagsOf(t, f, alice, "INBOX")) == 0 })
		wantLetters(t, harness.Maildir(t, p.Home), all)
	}
	gone()
	idles := func() bool { return strings.Contains(f.CLI("mailbox", "who", alice), "(idle)") }
	for i := range 2 {
		harness.Eventually(t, "fetchmail to idle", idles)
		all = append(all, seed(t, f, fmt.Sprintf("idle-%d", i), alice)...)
		gone()
	}
	if len(ended) > 0 {
		t.Error("fetchmail ended")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPythonReads reads with the libraries that scripts use.
func TestPythonReads(t *testing.T) {
	harness.Need(t, "python3")
	f := harness.StartDev(t)
	all := seed(t, f, "python", alice)
	script, err := filepath.Abs("testdata/read.py")
	if err != nil {
		t.Fatal(err)
	}
	for protocol, addr := range map[string]string{"imap": f.IMAP(), "imaps": f.IMAPS(), "pop3": f.POP3(), "pop3s": f.POP3S()} {
		t.Run(protocol, func(t *testing.T) {
			p := harness.NewProgram(t)
			p.Run("python3", script, protocol, harness.Port(addr), f.CA(), alice, devPass, filepath.Join(p.Home, "box"))
			var got [][]byte
			for i := range all {
				raw, err := os.ReadFile(filepath.Join(p.Home, "box", fmt.Sprint(i+1)))
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, raw)
			}
			wantLetters(t, got, all)
		})
	}
}
