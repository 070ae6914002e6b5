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

// TestNeomuttReads opens INBOX in a terminal, reads all messages, flags one, makes a mailbox and copies into it what a search on
// the server finds; another client sees it all.
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
	keys.WriteString("1<enter><flag-message><display-message><exit><sync-mailbox>" + searchAndCopy + "<quit>")
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
	wantCopied(t, f, all)
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
set confirm_create=no
set send_charset="utf-8"
set pager_stop=yes
set resolve=no
`, harness.Port(f.IMAPS()), harness.Port(f.Submission()), alice, devPass, f.CA()))
	return path
}

// TestNeomuttSends sends from the command line of a mail reader.
func TestNeomuttSends(t *testing.T) {
	harness.Need(t, "neomutt")
	f := harness.StartDev(t)
	p := harness.NewProgram(t)
	rc := neomuttConfig(t, f, p.Home)
	p.Stdin = []byte("Written in neomutt.\n.\nGrüße\n")
	p.Run("neomutt", "-F", rc, "-s", "from-neomutt", "--", bob)
	f.Settle()
	for _, m := range f.Mailbox(bob, "INBOX") {
		if m.Subject == "from-neomutt" && bytes.HasSuffix(m.Raw, []byte("\r\n\r\nWritten in neomutt.\r\n.\r\nGrüße\r\n")) {
			return
		}
	}
	t.Errorf("bob has no such message: %q", inMailbox(f, bob, "INBOX"))
}
