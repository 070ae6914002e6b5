package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// migration is a list of accounts on another server, and the command that brings them.
type migration struct {
	t     *testing.T
	farm  *harness.Farm
	other *harness.OtherIMAP
	dir   string
	flags []string
}

// migrated is what the report tells.
type migrated struct {
	Accounts []struct {
		Account, Error string
		Folders        []struct {
			Source, Folder, Excluded string
			Unchanged                bool
			UIDsKept                 bool `json:"uids_kept"`
			Brought, Deleted         int
			Flagged                  int   `json:"flags_changed"`
			There                    int64 `json:"messages_there"`
			Here                     int64 `json:"messages_here"`
			GoneThere                int   `json:"gone_there"`
			Left                     int   `json:"left_count"`
		}
		Notes []string
	}
	Brought, Deleted, Verified int
	Flagged                    int `json:"flags_changed"`
	Left                       int `json:"left_count"`
}

func (m *migration) args(flags ...string) []string {
	args := []string{"migrate", "imap", "--csv", filepath.Join(m.dir, "accounts.csv"), "--host", m.other.Host, "--source-ca", m.other.CA, "--report", filepath.Join(m.dir, "report.json")}
	return append(append(args, m.flags...), flags...)
}

// pass runs the command, which must end with a status.
func (m *migration) pass(status int, flags ...string) *migrated {
	m.t.Helper()
	out, code := m.farm.CLIStatus(m.args(flags...)...)
	if code != status {
		m.t.Fatalf("migrate %q: exit status %d, want %d\n%s", flags, code, status, out)
	}
	if strings.Contains(out, harness.OtherPassword) {
		m.t.Errorf("a password was printed:\n%s", out)
	}
	text, err := os.ReadFile(filepath.Join(m.dir, "report.json"))
	if err != nil {
		m.t.Fatal(err)
	}
	var r migrated
	if err := json.Unmarshal(text, &r); err != nil {
		m.t.Fatalf("%v\n%s", err, text)
	}
	return &r
}

// otherClient logs in at the other server.
func otherClient(t *testing.T, s *harness.OtherIMAP, user string) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialInsecure(net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Login(user, harness.OtherPassword).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put appends messages to a folder of the other server.
func put(t *testing.T, c *imapclient.Client, folder string, texts ...string) {
	t.Helper()
	for i, text := range texts {
		opts := &imap.AppendOptions{Time: time.Date(2019, 3, 1+i, 10, 30, 5, 0, time.FixedZone("", 5400))}
		if i%2 == 1 {
			opts.Flags = []imap.Flag{imap.FlagSeen, "$Work"}
		}
		cmd := c.Append(folder, int64(len(text)), opts)
		_, err := cmd.Write([]byte(text))
		must(t, err)
		must(t, cmd.Close())
		_, err = cmd.Wait()
		must(t, err)
	}
}

func texts(name string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("From: dora@other.example\r\nSubject: %s %d\r\nMessage-ID: <%s.%d@other.example>\r\n\r\n%s\r\n", name, i, name, i, strings.Repeat("Grüße ", i%7)))
	}
	return all
}

// folderAs is a folder as a client sees it.
type folderAs struct {
	validity uint32
	next     imap.UID
	messages map[imap.UID]string
}

func look(t *testing.T, c *imapclient.Client, name string) folderAs {
	t.Helper()
	data, err := c.Select(name, &imap.SelectOptions{ReadOnly: true}).Wait()
	must(t, err)
	f := folderAs{data.UIDValidity, data.UIDNext, map[imap.UID]string{}}
	if data.NumMessages == 0 {
		return f
	}
	var all imap.UIDSet
	all.AddRange(1, 0)
	body := &imap.FetchItemBodySection{Peek: true}
	got, err := c.Fetch(all, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{body}}).Collect()
	must(t, err)
	for _, m := range got {
		var flags []string
		for _, f := range m.Flags {
			if f != `\Recent` {
				flags = append(flags, string(f))
			}
		}
		slices.Sort(flags)
		f.messages[m.UID] = fmt.Sprintf("%q %d %s", flags, m.InternalDate.Unix(), m.FindBodySection(body))
	}
	return f
}

// wantSame compares a folder there and here, with its numbers.
func wantSame(t *testing.T, there folderAs, here folderAs, name string) {
	t.Helper()
	if there.validity != here.validity || there.next != here.next || len(there.messages) != len(here.messages) {
		t.Errorf("%s: UIDVALIDITY %d, UIDNEXT %d, %d messages here; %d, %d, %d there", name, here.validity, here.next, len(here.messages), there.validity, there.next, len(there.messages))
	}
	for uid, m := range there.messages {
		if got, ok := here.messages[uid]; !ok || got != m {
			t.Errorf("%s, UID %d: got %.200q, want %.200q", name, uid, got, m)
		}
	}
}

// TestMigrate brings accounts from other people's servers, in several passes.
func TestMigrate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start func(testing.TB) *harness.OtherIMAP
		flags func(*harness.OtherIMAP) []string
		csv   string
	}{
		{"Dovecot", harness.StartDovecot, func(s *harness.OtherIMAP) []string {
			return []string{"--port", strconv.Itoa(s.PortTLS)}
		}, "account,user,password\n%s,alice,@pass word\n"},
		{"Cyrus", harness.StartCyrus, func(s *harness.OtherIMAP) []string {
			return []string{"--port", strconv.Itoa(s.Port), "--tls", "starttls", "--master-user", harness.OtherMaster, "--master-authzid"}
		}, "account,user,master_password\n%s,alice,@pass word\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			other := tt.start(t)
			m := &migration{t, harness.StartDev(t), other, t.TempDir(), tt.flags(other)}
			write(t, filepath.Join(m.dir, "pass word"), harness.OtherPassword+"\n")
			write(t, filepath.Join(m.dir, "accounts.csv"), fmt.Sprintf(tt.csv, alice))
			c := otherClient(t, other, "alice")
			if tt.name == "Cyrus" {
				admin := otherClient(t, other, "cyrus")
				must(t, admin.Create("user.alice", nil).Wait())
				must(t, admin.Create("user.bob", nil).Wait())
				must(t, c.Create("INBOX.Sent Items", nil).Wait())
			}
			passes(t, m, c)
		})
	}
}

// folders are names there and here.
var folders = map[string]string{"INBOX": "INBOX", "INBOX.Sent Items": "Sent", "INBOX.Projects.Größe": "Projects/Größe"}

func passes(t *testing.T, m *migration, c *imapclient.Client) {
	put(t, c, "INBOX", append(texts("in", 8), "Subject: large\r\n\r\n"+strings.Repeat("0123456789abcdef\r\n", 90_000))...)
	must(t, c.Create("INBOX.Projects", nil).Wait())
	must(t, c.Create("INBOX.Projects.Größe", nil).Wait())
	must(t, c.Create("INBOX.Spare", nil).Wait())
	must(t, c.Subscribe("INBOX.Projects.Größe").Wait())
	must(t, c.SetACL("INBOX.Projects", "bob", imap.RightModificationReplace, imap.RightSet("lr")).Wait())
	put(t, c, "INBOX.Sent Items", texts("sent", 3)...)
	put(t, c, "INBOX.Projects.Größe", texts("project", 3)...)
	put(t, c, "INBOX.Spare", texts("spare", 2)...)
	store(t, c, "INBOX", 1, imap.FlagDeleted)
	must(t, c.Expunge().Close())

	flags := []string{"--exclude", "Spare"}
	if r := m.pass(0, append(flags, "--dry-run")...); r.Brought != 14 {
		t.Errorf("dry run: %+v", r)
	}
	write(t, filepath.Join(m.dir, "accounts.csv"), strings.TrimSpace(read(t, filepath.Join(m.dir, "accounts.csv")))+"\n"+bob+",bob,"+harness.OtherPassword+"\n")
	r := m.pass(0, flags...)
	if r.Brought != 14 || r.Left != 0 {
		t.Errorf("first pass: %+v", r)
	}
	here := m.farm.IMAPClient(alice)
	defer here.Logout()
	// Cyrus gives folders that are made in one second one UIDVALIDITY: of these, one can have it here.
	validities := map[uint32]int{}
	for there := range folders {
		validities[look(t, c, there).validity]++
	}
	for there, name := range folders {
		want, got := look(t, c, there), look(t, here, name)
		if validities[want.validity] > 1 {
			want.validity = got.validity
		}
		wantSame(t, want, got, name)
	}
	if out := m.farm.CLI("acl", "list", alice, "--json"); !strings.Contains(out, `"Projects"`) || !strings.Contains(out, bob) {
		t.Errorf("access control lists: %s", out)
	}
	if list, err := here.List("", "Projects/Größe", &imap.ListOptions{SelectSubscribed: true}).Collect(); err != nil || len(list) != 1 {
		t.Errorf("Projects/Größe is not subscribed to: %v, %v", list, err)
	}

	// What counters say is all that is asked.
	r = m.pass(0, flags...)
	unchanged := 0
	for _, f := range r.Accounts[0].Folders {
		if f.Unchanged {
			unchanged++
		}
	}
	if r.Brought != 0 || r.Flagged != 0 || unchanged < 4 {
		t.Errorf("second pass: %+v", r)
	}

	// There: a new message, flags set and taken away, two expunged. Here: flags of two that nobody touched there or expunged there.
	put(t, c, "INBOX", texts("late", 1)...)
	store(t, c, "INBOX", 3, imap.FlagFlagged, "$Late")
	must(t, c.Store(imap.UIDSetNum(2), &imap.StoreFlags{Op: imap.StoreFlagsDel, Flags: []imap.Flag{imap.FlagSeen}}, nil).Close())
	store(t, here, "INBOX", 3, imap.FlagAnswered)
	store(t, here, "INBOX", 6, imap.FlagAnswered)
	must(t, c.Store(imap.UIDSetNum(5, 6), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	must(t, c.Expunge().Close())
	put(t, c, "INBOX.Sent Items", texts("more", 2)...)
	r = m.pass(0, append(flags, "--delete")...)
	if r.Brought != 3 || r.Flagged != 2 || r.Deleted != 1 {
		t.Errorf("pass with changes: %+v", r)
	}
	got, want := look(t, here, "INBOX"), look(t, c, "INBOX")
	if m := got.messages[6]; !strings.Contains(m, `"\\Answered"`) {
		t.Errorf("a message that was touched here and expunged there: %.80q", m)
	}
	if m := got.messages[3]; !strings.HasPrefix(m, `["$Late" "\\Answered" "\\Flagged"]`) {
		t.Errorf("a message with flags of both sides: %.80q", m)
	}
	delete(got.messages, 6)
	got.messages[3] = want.messages[3]
	wantSame(t, want, got, "INBOX")
	if r := m.pass(0, append(flags, "--verify")...); r.Brought != 0 || r.Verified != len(want.messages)+5+3 {
		t.Errorf("pass that verifies: %+v", r)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

// TestMigrateKilled kills the command while it brings a folder, again and again; in the end all is there, once. The login is a master's.
func TestMigrateKilled(t *testing.T) {
	other := harness.StartDovecot(t)
	m := &migration{t, harness.StartDev(t), other, t.TempDir(), []string{"--port", strconv.Itoa(other.PortTLS), "--master-user", harness.OtherMaster}}
	write(t, filepath.Join(m.dir, "accounts.csv"), "account,user\n"+alice+",alice\n")
	write(t, filepath.Join(m.dir, "master"), harness.OtherPassword)
	m.flags = append(m.flags, "--master-password-file", filepath.Join(m.dir, "master"))
	c := otherClient(t, other, "alice")
	put(t, c, "INBOX", texts("in", 900)...)
	here := m.farm.IMAPClient(alice)
	defer here.Logout()
	count := func() uint32 {
		data, err := here.Status("INBOX", &imap.StatusOptions{NumMessages: true}).Wait()
		must(t, err)
		return *data.NumMessages
	}
	for _, until := range []uint32{1, 300} {
		cmd := exec.Command(harness.Binary(t), append(m.args("--no-compress", "--rate", "100000"), "--data", m.farm.Data)...)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		must(t, cmd.Start())
		harness.Eventually(t, "messages come", func() bool { return count() >= until })
		must(t, cmd.Process.Signal(syscall.SIGKILL))
		if err := cmd.Wait(); err == nil {
			t.Errorf("it was done before it was killed: %s", said.String())
		}
	}
	r := m.pass(0, "--verify")
	if n := count(); n != 900 || r.Verified != 900 {
		t.Errorf("%d messages, want 900; %+v", n, r)
	}
	wantSame(t, look(t, c, "INBOX"), look(t, here, "INBOX"), "INBOX")
	if _, code := m.farm.CLIStatus(m.args("--master-user", "nobody")...); code != 1 {
		t.Errorf("a login that is refused: exit status %d, want 1", code)
	}
	// A certificate that is not trusted is not tried again and again.
	if out, code := m.farm.CLIStatus(m.args("--source-ca", m.farm.CA())...); code != 1 || !strings.Contains(out, "--source-ca") {
		t.Errorf("a certificate of nobody: exit status %d, want 1\n%s", code, out)
	}
}
