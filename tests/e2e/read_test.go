package e2e

import (
	"bytes"
	"fmt"
	"os"
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

// TestNeomuttReads opens INBOX in a terminal, reads a message and flags it; another client sees both.
func TestNeomuttReads(t *testing.T) {
	harness.Need(t, "neomutt", "script")
	f := harness.StartDev(t)
	all := seed(t, f, "neomutt", alice)
	p := harness.NewProgram(t)
	rc := neomuttConfig(t, f, p.Home)
	var keys strings.Builder
	for i := range all {
		fmt.Fprintf(&keys, "%d<enter><pipe-message>cat > %s/%d<enter>", i+1, p.Home, i)
	}
	keys.WriteString("1<enter><flag-message><display-message><exit><sync-mailbox><quit>")
	write(t, filepath.Join(p.Home, "keys"), fmt.Sprintf("push \"%s\"\n", keys.String()))
	p.Run("script", "-qfec", fmt.Sprintf("neomutt -F %s -e 'source %s/keys'", rc, p.Home), "/dev/null")
	var got [][]byte
	for i := range all {
		raw, err := os.ReadFile(filepath.Join(p.Home, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, harness.CRLF(raw))
	}
	wantLetters(t, got, all)
	if flags := flagsOf(t, f, alice, "INBOX")[1]; !strings.Contains(flags, `\Flagged`) || !strings.Contains(flags, `\Seen`) {
		t.Errorf("the first message has the flags %s, want it flagged and seen", flags)
	}
}

// neomuttConfig lets alice use neomutt. Its SASL library would choose SCRAM-SHA-256-PLUS for SMTP and then not give it the
// channel binding, so PLAIN is named.
func neomuttConfig(t *testing.T, f *harness.Farm, home string) string {
	t.Helper()
	path := filepath.Join(home, "neomuttrc")
	write(t, path, fmt.Sprintf(`set folder="imaps://localhost:%s/"
set spoolfile="=INBOX"
set imap_user="%[3]s"
set imap_pass="%[4]s"
set smtp_url="smtp://%[3]s:%[4]s@localhost:%[2]s/"
set smtp_authenticators="plain"
set from="%[3]s"
set hostname="client.example"
set certificate_file="%[5]s"
set ssl_force_tls=yes
set sort=mailbox-order
set copy=no
set wait_key=no
set pipe_decode=no
set sleep_time=0
set quit=yes
set confirm_append=no
set send_charset="utf-8"
set pager_stop=yes
set resolve=no
`, harness.Port(f.IMAPS()), harness.Port(f.Submission()), alice, devPass, f.CA()))
	return path
}

// TestMbsyncSyncs copies all mailboxes to a maildir and back, with flags and removals, in both directions.
func TestMbsyncSyncs(t *testing.T) {
	harness.Need(t, "mbsync")
	f := harness.StartDev(t)
	all := seed(t, f, "mbsync", alice)
	p := harness.NewProgram(t)
	near := filepath.Join(p.Home, "near")
	if err := os.Mkdir(near, 0o700); err != nil {
		t.Fatal(err)
	}
	rc := filepath.Join(p.Home, "mbsyncrc")
	write(t, rc, fmt.Sprintf("IMAPAccount farm\nHost localhost\nPort %s\nUser %s\nPass %s\nSSLType IMAPS\nCertificateFile %s\n\n"+
		"IMAPStore far\nAccount farm\n\nMaildirStore near\nPath %s/\nInbox %[5]s/INBOX\nSubFolders Verbatim\n\n"+
		"Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\nSyncState *\n",
		harness.Port(f.IMAPS()), alice, devPass, f.CA(), near))
	sync := func() { p.Run("mbsync", "-c", rc, "all") }

	sync()
	for _, folder := range []string{"INBOX", "Sent", "Drafts", "Junk", "Trash", "Archive"} {
		if _, err := os.Stat(filepath.Join(near, folder)); err != nil {
			t.Errorf("mailbox %s did not come near: %v", folder, err)
		}
	}
	inbox := filepath.Join(near, "INBOX")
	wantLetters(t, withoutTUID(harness.Maildir(t, inbox)), all)

	t.Run("near to far", func(t *testing.T) {
		markNear(t, inbox, all[0].name, "F") // flagged
		markNear(t, inbox, all[1].name, "T") // trashed
		written := letters("written", alice, bob)
		for i, l := range written {
			write(t, filepath.Join(near, "Sent", "cur", fmt.Sprintf("1.%d.here:2,S", i)), strings.ReplaceAll(string(l.raw), "\r\n", "\n"))
		}
		makeMaildir(t, filepath.Join(near, "Projects"))
		sync()
		var sent [][]byte
		for _, raw := range withoutTUID(inMailbox(f, alice, "Sent")) {
			sent = append(sent, append([]byte("Return-Path: <>\r\n"), raw...)) // APPEND puts nothing before it
		}
		wantLetters(t, sent, written)
		flags := flagsOf(t, f, alice, "INBOX")
		if !strings.Contains(flags[1], `\Flagged`) {
			t.Errorf("message 1 has the flags %s, want it flagged", flags[1])
		}
		if _, there := flags[2]; there || len(flags) != len(all)-1 {
			t.Errorf("message 2 was trashed near and is still far: %v", flags)
		}
		f.Mailbox(alice, "Projects") // fails where it was not made
	})
	t.Run("far to near", func(t *testing.T) {
		c := f.IMAPClient(alice)
		defer c.Logout()
		store(t, c, "INBOX", 3, `\Answered`, `\Seen`)
		store(t, c, "INBOX", 4, `\Deleted`)
		if err := c.Expunge().Close(); err != nil {
			t.Fatal(err)
		}
		more := seed(t, f, "later", alice)
		sync()
		wantLetters(t, withoutTUID(harness.Maildir(t, inbox)), more)
		if name := nearFile(t, inbox, all[2].name); !strings.HasSuffix(name, ":2,RS") {
			t.Errorf("the flags of message 3 did not come near: %s", name)
		}
		if name := nearFile(t, inbox, all[3].name); name != "" {
			t.Errorf("message 4 was removed far and is still near: %s", name)
		}
	})
}

// withoutTUID takes out the field by which mbsync recognizes what it copied.
func withoutTUID(messages [][]byte) [][]byte {
	var out [][]byte
	for _, m := range messages {
		if before, rest, ok := bytes.Cut(m, []byte("X-TUID: ")); ok {
			_, after, _ := bytes.Cut(rest, []byte("\r\n"))
			m = append(append([]byte(nil), before...), after...)
		}
		out = append(out, m)
	}
	return out
}

// nearFile is the file of a message in a maildir, or "".
func nearFile(t *testing.T, dir, subject string) string {
	t.Helper()
	for _, sub := range []string{"new", "cur"} {
		files, err := filepath.Glob(filepath.Join(dir, sub, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(raw, []byte("\nSubject: "+subject+"\n")) {
				return path
			}
		}
	}
	return ""
}

// markNear gives a message in a maildir a flag.
func markNear(t *testing.T, dir, subject, flag string) {
	t.Helper()
	from := nearFile(t, dir, subject)
	base, _, _ := strings.Cut(filepath.Base(from), ":")
	if err := os.Rename(from, filepath.Join(dir, "cur", base+":2,"+flag)); err != nil {
		t.Fatal(err)
	}
}
