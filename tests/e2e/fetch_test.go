package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestGetmailReads fetches by IMAP and by POP3: all, what is new alone, and all once more to remove it.
func TestGetmailReads(t *testing.T) {
	harness.Need(t, "getmail")
	f := harness.StartDev(t)
	for _, tc := range []struct{ name, retriever, addr string }{
		{"imap", "SimpleIMAPSSLRetriever", f.IMAPS()}, {"pop3", "SimplePOP3SSLRetriever", f.POP3S()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			all := seed(t, f, "getmail", alice)
			p := harness.NewProgram(t)
			box := makeMaildir(t, filepath.Join(p.Home, "box"))
			rc := func(more string) string {
				path := filepath.Join(p.Home, "getmailrc")
				write(t, path, fmt.Sprintf("[retriever]\ntype = %s\nserver = localhost\nport = %s\nusername = %s\npassword = %s\nca_certs = %s\n\n"+
					"[destination]\ntype = MDA_external\nallow_root_commands = true\nunixfrom = false\npath = /bin/sh\narguments = ('-c', 'cat > $(mktemp %s/cur/XXXXXXXX)')\n\n[options]\nreceived = false\ndelivered_to = false\n%s", tc.retriever, harness.Port(tc.addr), alice, devPass, f.CA(), box, more))
				return path
			}
			fetch := func(more string) { p.Run("getmail", "--quiet", "--getmaildir="+p.Home, "--rcfile="+rc(more)) }
			fetch("read_all = false\n")
			fetch("read_all = false\n") // nothing is new
			got := withoutMarks(harness.Maildir(t, box))
			wantLetters(t, got, all)
			if len(got) != len(all) {
				t.Errorf("%d messages were fetched, there are %d", len(got), len(all))
			}
			later := letters("later-"+tc.name, carol, alice)[0]
			if err := harness.Send(f.SMTP(), carol, []string{alice}, later.raw); err != nil {
				t.Fatal(err)
			}
			f.Settle()
			fetch("read_all = false\n")
			got = withoutMarks(harness.Maildir(t, box))
			wantLetters(t, got, append(all[:len(all):len(all)], later))
			if len(got) != len(all)+1 {
				t.Errorf("%d messages were fetched, there are %d", len(got), len(all)+1)
			}
			fetch("read_all = true\ndelete = true\n")
			if left := f.Mailbox(alice, "INBOX"); len(left) != 0 {
				t.Errorf("%d messages are left", len(left))
			}
		})
	}
}

// withoutMarks takes out what getmail writes: Return-Path its own way, and where it found the message.
func withoutMarks(messages [][]byte) (out [][]byte) {
	for _, m := range messages {
		if _, rest, ok := bytes.Cut(m, []byte("\r\n")); ok && bytes.HasPrefix(m, []byte("Return-Path: ")) {
			m = append([]byte("Return-Path: <x>\r\n"), rest...)
		}
		out = append(out, bytes.Replace(m, []byte("X-getmail-retrieved-from-mailbox: INBOX\r\n"), nil, 1))
	}
	return out
}

// TestImapfilterSorts finds messages by what they say and how large they are, flags, copies, moves and removes them. It goes
// without TLS: imapfilter trusts no other authorities than the system's.
func TestImapfilterSorts(t *testing.T) {
	harness.Need(t, "imapfilter")
	f := harness.StartDev(t, "--config", harness.ConfigFile(t, "imap:\n  plaintext_networks: [127.0.0.0/8]\n"))
	appendMany(t, f, alice, "INBOX", numberedNames("keep", 5)...)
	appendMany(t, f, alice, "INBOX", numberedNames("file", 4)...)
	appendMany(t, f, alice, "INBOX", numberedNames("drop", 3)...)
	p := harness.NewProgram(t)
	script := filepath.Join(p.Home, "config.lua")
	write(t, script, fmt.Sprintf(`options.timeout = 60
options.starttls = false
options.create = true
a = IMAP { server = 'localhost', port = %s, username = '%s', password = '%s' }
inbox = a['INBOX']
a:create_mailbox('Filed/Here')
files = inbox:contain_subject('file-')
files:mark_flagged()
files:copy_messages(a['Archive'])
files:move_messages(a['Filed/Here'])
inbox:contain_body('The body of drop'):delete_messages()
unseen, recent = inbox:check_status()
inbox:is_unseen():mark_seen()
small = inbox:is_smaller(10000) * inbox:is_seen() - inbox:is_flagged()
assert(#small == 5, 'small: ' .. #small)
assert(#a['Archive']:is_flagged() == 4, 'archive')
boxes, folders = a:list_all('Filed')
found = false
for _, b in ipairs(boxes) do if b == 'Filed/Here' then found = true end end
assert(found, 'Filed/Here is not listed')
`, harness.Port(f.IMAP()), alice, devPass))
	p.Run("imapfilter", "-c", script)
	for box, want := range map[string]int{"INBOX": 5, "Archive": 4, "Filed/Here": 4} {
		if got := f.Mailbox(alice, box); len(got) != want {
			t.Errorf("%s has %d messages, want %d", box, len(got), want)
		}
	}
	for uid, flags := range flagsOf(t, f, alice, "INBOX") {
		if !strings.Contains(flags, `\Seen`) {
			t.Errorf("UID %d has the flags %s, want it seen", uid, flags)
		}
	}
}

// TestPerlClient goes through what Mail::IMAPClient, on which scripts of administrators stand, can do.
func TestPerlClient(t *testing.T) { scripted(t, "perl", "imapclient.pl") }

// TestPythonClient goes through all methods of imaplib.
func TestPythonClient(t *testing.T) { scripted(t, "python3", "imapclient.py") }

// scripted runs a script against an account with five messages, which looks at its answers itself, and looks what is left.
func scripted(t *testing.T, program, script string) {
	t.Helper()
	harness.Need(t, program)
	path, err := filepath.Abs(filepath.Join("testdata", script))
	if err != nil {
		t.Fatal(err)
	}
	f := harness.StartDev(t)
	appendMany(t, f, alice, "INBOX", numberedNames("seeded", 5)...)
	p := harness.NewProgram(t)
	p.Run(program, path, harness.Port(f.IMAPS()), harness.Port(f.IMAP()), f.CA(), alice, devPass, bob)
	var left []string
	for _, m := range f.Mailbox(alice, "INBOX") {
		left = append(left, m.Subject)
	}
	if fmt.Sprint(left) != "[seeded-0000 seeded-0001 seeded-0003 appended]" {
		t.Errorf("INBOX has %q", left)
	}
	if got := f.Mailbox(alice, "Scripts/Renamed"); len(got) != 1 || got[0].Subject != "seeded-0004" {
		t.Errorf("Scripts/Renamed has %v", got)
	}
	if flags := flagsOf(t, f, alice, "INBOX"); !strings.Contains(flags[imap.UID(1)], `\Flagged`) {
		t.Errorf("the first message has the flags %v", flags)
	}
}

// TestMuttReads opens INBOX in a terminal, reads all messages, flags one, removes another, makes a mailbox and copies into it what
// a search on the server finds.
func TestMuttReads(t *testing.T) {
	harness.Need(t, "mutt", "script")
	f := harness.StartDev(t)
	all := seed(t, f, "mutt", alice)
	p := harness.NewProgram(t)
	rc := filepath.Join(p.Home, "muttrc")
	write(t, rc, fmt.Sprintf("set folder=\"imaps://localhost:%s/\"\nset spoolfile=\"=INBOX\"\nset imap_user=\"%s\"\nset imap_pass=\"%s\"\nset ssl_ca_certificates_file=\"%s\"\n"+
		"set certificate_file=\"%[4]s\"\nset ssl_usesystemcerts=no\nset sort=mailbox-order\nset wait_key=no\nset pipe_decode=no\nset sleep_time=0\nset quit=yes\nset delete=yes\nset confirmcreate=no\nset confirmappend=no\nset resolve=no\n"+
		"set imap_qresync=yes\nset header_cache=\"%s/cache\"\nset tls_verify_dates=no\n", harness.Port(f.IMAPS()), alice, devPass, f.CA(), p.Home))
	var keys strings.Builder
	for i := range all {
		fmt.Fprintf(&keys, "%d<enter><pipe-message>cat > %s/%d<enter>", i+1, p.Home, i)
	}
	keys.WriteString("1<enter><flag-message>2<enter><delete-message><sync-mailbox>" + searchAndCopy + "<quit>")
	write(t, filepath.Join(p.Home, "keys"), fmt.Sprintf("push \"%s\"\n", keys.String()))
	p.Run("script", "-qfec", fmt.Sprintf("mutt -F %s -e 'source %s/keys'", rc, p.Home), "/dev/null")
	var got [][]byte
	for i := range all {
		raw, err := os.ReadFile(filepath.Join(p.Home, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, harness.CRLF(raw))
	}
	wantLetters(t, got, all)
	flags := flagsOf(t, f, alice, "INBOX")
	if _, there := flags[2]; there || len(flags) != len(all)-1 || !strings.Contains(flags[1], `\Flagged`) {
		t.Errorf("flags: %v", flags)
	}
	wantCopied(t, f, all)
}

// searchAndCopy are the keys of mutt and neomutt by which what the server finds in bodies is copied into a new mailbox.
const searchAndCopy = "<limit>=b 'See attached'<enter><tag-pattern>~A<enter><tag-prefix><copy-message>=Copied<enter><limit>~A<enter>"

// wantCopied checks what came of these keys: the last of the letters was copied, and nothing else.
func wantCopied(t *testing.T, f *harness.Farm, all []letter) {
	t.Helper()
	copied := inMailbox(f, alice, "Copied")
	if len(copied) != 1 {
		t.Fatalf("%d messages were copied, want one", len(copied))
	}
	wantLetters(t, copied, all[len(all)-1:])
}
