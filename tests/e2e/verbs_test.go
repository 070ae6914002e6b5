package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// fromJSON runs a verb with --json and reads what it prints.
func fromJSON[T any](t *testing.T, f *harness.Farm, args ...string) T {
	t.Helper()
	out := f.CLI(append(args, "--json")...)
	var v T
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("mailfarm %s --json: %v\n%s", strings.Join(args, " "), err, out)
	}
	return v
}

// refused runs a verb that must end with status 2 and say each of the words.
func refused(t *testing.T, f *harness.Farm, args []string, words ...string) {
	t.Helper()
	out, code := f.CLIStatus(args...)
	if code != 2 || !strings.HasPrefix(out, "mailfarm: ") {
		t.Errorf("mailfarm %s: exit status %d, want 2\n%s", strings.Join(args, " "), code, out)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("mailfarm %s does not say %q:\n%s", strings.Join(args, " "), w, out)
		}
	}
}

// mayLogIn tells whether a password opens a mailbox.
func mayLogIn(t *testing.T, f *harness.Farm, user, password string) bool {
	t.Helper()
	c, err := imapclient.DialTLS(f.IMAPS(), &imapclient.Options{TLSConfig: f.TLS()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.Login(user, password).Wait() == nil
}

type account struct{ Address, ID string }

// TestAccounts adds, lists, changes and removes accounts.
func TestAccounts(t *testing.T) {
	f := harness.StartDev(t)
	add := func(address, password string) string {
		out, code := f.CLIInput(password+"\n", "account", "add", address)
		if code != 0 {
			t.Fatalf("account add %s: exit status %d\n%s", address, code, out)
		}
		return out
	}
	if out := add("dave@example.org", "a secret of dave"); out != "added dave@example.org\n" {
		t.Errorf("account add says %q", out)
	}
	if !mayLogIn(t, f, "dave@example.org", "a secret of dave") || mayLogIn(t, f, "dave@example.org", devPass) {
		t.Error("the password of the new account does not open it, or another does")
	}
	c, err := imapclient.DialTLS(f.IMAPS(), &imapclient.Options{TLSConfig: f.TLS()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Login("dave@example.org", "a secret of dave").Wait(); err != nil {
		t.Fatal(err)
	}
	boxes, err := c.List("", "*", nil).Collect()
	if err != nil {
		t.Fatal(err)
	}
	uses := map[string]string{}
	for _, b := range boxes {
		uses[b.Mailbox] = fmt.Sprint(b.Attrs)
	}
	for name, use := range map[string]string{"INBOX": "", "Sent": `\Sent`, "Drafts": `\Drafts`, "Junk": `\Junk`, "Trash": `\Trash`, "Archive": `\Archive`} {
		if attrs, there := uses[name]; !there || !strings.Contains(attrs, use) {
			t.Errorf("a new account has %s with %q, want %s: %v", name, attrs, use, uses)
		}
	}

	listed := func(args ...string) (addresses []string) {
		for _, a := range fromJSON[[]account](t, f, append([]string{"account", "list"}, args...)...) {
			addresses = append(addresses, a.Address)
		}
		slices.Sort(addresses)
		return addresses
	}
	if got := listed(); !slices.Equal(got, []string{alice, bob, "dave@example.org"}) {
		t.Errorf("account list --json tells of %v", got)
	}
	if got := listed("--domain", "example.net"); len(got) != 0 {
		t.Errorf("account list --domain example.net tells of %v", got)
	}
	if out := f.CLI("account", "list"); !strings.HasPrefix(out, "ADDRESS") || strings.Count(out, "\n") != 4 {
		t.Errorf("account list:\n%s", out)
	}

	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "another secret\n")
	f.CLI("account", "passwd", "dave@example.org", "--password-file", secret)
	if !mayLogIn(t, f, "dave@example.org", "another secret") || mayLogIn(t, f, "dave@example.org", "a secret of dave") {
		t.Error("the new password does not open the account, or the old one does")
	}

	f.CLI("account", "remove", "dave@example.org")
	if mayLogIn(t, f, "dave@example.org", "another secret") {
		t.Error("a removed account can log in")
	}
	if err := harness.Send(f.SMTP(), carol, []string{"dave@example.org"}, harness.Letter("x", carol, "dave@example.org")); err == nil {
		t.Error("a removed account gets mail")
	}

	refused(t, f, []string{"account", "add", "not-an-address", "--password-file", secret})
	refused(t, f, []string{"account", "add", alice, "--password-file", secret}, "alice@example.org")
	refused(t, f, []string{"account", "add", "x@elsewhere.example", "--password-file", secret}, "elsewhere.example")
	refused(t, f, []string{"account", "add", "postmaster@example.org", "--password-file", secret}, "postmaster")
	refused(t, f, []string{"account", "remove", "nobody@example.org"}, "nobody@example.org")
	refused(t, f, []string{"account", "passwd", "nobody@example.org", "--password-file", secret}, "nobody@example.org")
	if out, code := f.CLIInput("\n", "account", "add", "erin@example.org"); code != 2 || !strings.Contains(out, "--password-file") {
		t.Errorf("without a password: exit status %d\n%s", code, out)
	}
	if out, code := f.CLIInput("short\n", "account", "add", "erin@example.org"); code != 2 || !strings.Contains(out, "8") {
		t.Errorf("with a short password: exit status %d\n%s", code, out)
	}
}

// TestImport adds 1,000 accounts in one go and logs in to some; a second import of the same updates them. Lines with faults
// are named and passed over.
func TestImport(t *testing.T) {
	const accounts = 1000
	f := harness.StartDev(t)
	var csv strings.Builder
	for i := range accounts {
		fmt.Fprintf(&csv, "user%04d@example.org,secret of %04d\n", i, i)
	}
	file := filepath.Join(t.TempDir(), "people.csv")
	write(t, file, csv.String())
	began := time.Now()
	if out := f.CLI("account", "import", file); out != fmt.Sprintf("%d added, 0 updated, 0 passed over\n", accounts) {
		t.Errorf("account import says %q", out)
	}
	took := time.Since(began)
	t.Logf("%d accounts in %v", accounts, took)
	if took > 30*time.Second {
		t.Errorf("%d accounts took %v, want under 30s", accounts, took)
	}
	for _, i := range []int{0, 499, 999} {
		user, password := fmt.Sprintf("user%04d@example.org", i), fmt.Sprintf("secret of %04d", i)
		if !mayLogIn(t, f, user, password) {
			t.Errorf("%s cannot log in", user)
		}
	}
	result := fromJSON[struct {
		Added, Updated int
		Faults         []struct {
			Line             int
			Address, Problem string
		}
	}](t, f, "account", "import", file)
	if result.Updated != accounts || result.Added != 0 || len(result.Faults) != 0 {
		t.Errorf("the second import says %+v", result)
	}

	out, code := f.CLIInput("user0001@example.org,{SCRAM-SHA-256}nonsense\nno-address,secret secret\ngood@example.org,secret secret\nx@elsewhere.example,secret secret\n", "account", "import", "-")
	if code != 2 || !strings.Contains(out, "1 added, 0 updated, 3 passed over") {
		t.Errorf("an import with faults: exit status %d\n%s", code, out)
	}
	for _, want := range []string{"line 1, user0001@example.org:", "line 2, no-address:", "line 4, x@elsewhere.example:"} {
		if !strings.Contains(out, want) {
			t.Errorf("the import does not say %q:\n%s", want, out)
		}
	}
	if !mayLogIn(t, f, "user0001@example.org", "secret of 0001") {
		t.Error("a fault in the file changed the account")
	}
}

// TestDomainsAndAliases routes by catch-all, aliases of aliases, and plus-addresses.
func TestDomainsAndAliases(t *testing.T) {
	f := harness.StartDev(t)
	f.CLI("domain", "add", "example.net", "--catch-all", bob)
	type domain struct {
		Name     string
		CatchAll string `json:"catch_all"`
	}
	if got := fromJSON[[]domain](t, f, "domain", "list"); !slices.Contains(got, domain{"example.net", bob}) || len(got) != 2 {
		t.Errorf("domain list --json tells of %v", got)
	}
	f.CLI("alias", "set", "team@example.org", "sales@example.org", alice)
	f.CLI("alias", "add", "sales@example.org", bob, "team@example.org") // a loop: each gets one copy
	type alias struct {
		Address string
		Targets []string
	}
	aliases := fromJSON[[]alias](t, f, "alias", "list", "--domain", "example.org")
	if !slices.ContainsFunc(aliases, func(a alias) bool {
		return a.Address == "team@example.org" && slices.Equal(a.Targets, []string{"sales@example.org", alice})
	}) {
		t.Errorf("alias list --json tells of %v", aliases)
	}
	for subject, to := range map[string]string{"caught": "anything@example.net", "to-team": "team@example.org", "plus": "alice+news@example.org", "case": "Alice@EXAMPLE.org"} {
		if err := harness.Send(f.SMTP(), carol, []string{to}, harness.Letter(subject, carol, to)); err != nil {
			t.Fatalf("send to %s: %v", to, err)
		}
	}
	f.Settle()
	harness.WantOnce(t, f.Mailbox(bob, "INBOX"), []string{"caught", "to-team"})
	harness.WantOnce(t, f.Mailbox(alice, "INBOX"), []string{"to-team", "plus", "case"})

	f.CLI("alias", "remove", "team@example.org")
	harness.Eventually(t, "a removed alias is refused", func() bool { // ingress remembers for a moment who has a place here
		return harness.Send(f.SMTP(), carol, []string{"team@example.org"}, harness.Letter("late", carol, "team")) != nil
	})
	refused(t, f, []string{"domain", "remove", "example.org"}, "example.org")
	refused(t, f, []string{"alias", "remove", "team@example.org"}, "team@example.org")
	refused(t, f, []string{"alias", "set", "only@example.org"})
	f.CLI("domain", "remove", "example.net")
	if got := fromJSON[[]domain](t, f, "domain", "list"); len(got) != 1 {
		t.Errorf("domain list --json tells of %v", got)
	}
}

// entry is what trace and queue print of a message.
type entry struct {
	QueueID     string `json:"queue_id"`
	ReversePath string `json:"reverse_path"`
	MessageID   string `json:"message_id"`
	Subject     string
	Kind        string
	Client      string
	Protocol    string
	TLS         string
	Account     string
	Verdict     string
	Recipients  []struct {
		ForwardPath string `json:"forward_path"`
		State       string
		Attempts    int
		LastReply   string `json:"last_reply"`
		Relay       string
		Due         *time.Time
	}
}

// state is the state of all recipients, which is to be the same.
func (e entry) state() string {
	all := map[string]bool{}
	for _, r := range e.Recipients {
		all[r.State] = true
	}
	var names []string
	for s := range all {
		names = append(names, s)
	}
	slices.Sort(names)
	return strings.Join(names, "+")
}

// TestTrace finds messages by id, recipient, sender, Message-ID and time.
func TestTrace(t *testing.T) {
	f := harness.StartDev(t)
	if err := harness.Send(f.SMTP(), carol, []string{alice}, harness.Letter("first", carol, alice)); err != nil {
		t.Fatal(err)
	}
	if err := f.Submit(bob, []string{alice, bob}, harness.Letter("second", bob, alice), nil, nil); err != nil {
		t.Fatal(err)
	}
	f.Settle()
	subjects := func(args ...string) string {
		var names []string
		for _, e := range fromJSON[[]entry](t, f, append([]string{"trace"}, args...)...) {
			names = append(names, e.Subject)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	for _, c := range []struct{ name, want, got string }{
		{"--rcpt alice", "first second", subjects("--rcpt", alice)},
		{"--rcpt bob", "second", subjects("--rcpt", bob)},
		{"--from", "first", subjects("--from", carol)},
		{"--message-id", "second", subjects("--message-id", "<second@letters.example>")},
		{"--since 1h", "first second", subjects("--since", "1h")},
		{"--since tomorrow", "", subjects("--since", time.Now().Add(24*time.Hour).Format("2006-01-02T15:04:05"))},
		{"--since and --rcpt", "second", subjects("--since", time.Now().Format("2006-01-02"), "--rcpt", bob)},
		{"nobody's", "", subjects("--rcpt", "nobody@example.org")},
	} {
		if c.got != c.want {
			t.Errorf("trace %s finds %q, want %q", c.name, c.got, c.want)
		}
	}

	found := fromJSON[[]entry](t, f, "trace", "--message-id", "<second@letters.example>")[0]
	byID := fromJSON[[]entry](t, f, "trace", found.QueueID)
	if len(byID) != 1 || byID[0].Subject != "second" || byID[0].state() != "delivered" || len(byID[0].Recipients) != 2 {
		t.Errorf("trace QUEUE-ID --json tells %+v", byID)
	}
	if e := byID[0]; e.Account != bob || e.TLS == "" || e.Client != "127.0.0.1" || e.Protocol != "ESMTPSA" || e.Kind != "accepted" {
		t.Errorf("trace tells of the client %+v", e)
	}
	text := f.CLI("trace", found.QueueID)
	for _, want := range []string{found.QueueID, "second", "bob@example.org", "delivered", "verdict", "ESMTPSA"} {
		if !strings.Contains(text, want) {
			t.Errorf("trace does not say %q:\n%s", want, text)
		}
	}
	refused(t, f, []string{"trace"}, "--rcpt")
	refused(t, f, []string{"trace", "no-id"}, "no-id")
	refused(t, f, []string{"trace", "00000000000000000000000000"}, "no such message")
	refused(t, f, []string{"trace", "--since", "yesterday"}, "30m")
}

// TestAudit counts, as text, as JSON and as metrics under the same names.
func TestAudit(t *testing.T) {
	f := harness.StartDev(t)
	f.CLI("alias", "set", "both@example.org", alice, bob)
	for range 3 {
		if err := harness.Send(f.SMTP(), carol, []string{"both@example.org"}, harness.Letter("x", carol, "both")); err != nil {
			t.Fatal(err)
		}
	}
	f.Settle()
	counts := fromJSON[map[string]any](t, f, "audit")
	want := map[string]float64{"accepted": 3, "added": 6, "delivered": 6, "expanded": 3, "relayed": 0, "bounced": 0, "discarded": 0,
		"quarantined": 0, "pending": 0, "queued": 0, "held": 0, "dead": 0, "unaccounted": 0, "frames": 3}
	text := f.CLI("audit")
	resp, err := http.Get("http://" + f.HTTP() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	metrics, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range want {
		if counts[name] != n {
			t.Errorf("audit --json says %s %v, want %v", name, counts[name], n)
		}
		if name != "frames" && !regexp.MustCompile(fmt.Sprintf(`(?m)^%s +%v  `, name, n)).MatchString(text) {
			t.Errorf("audit does not say %s %v:\n%s", name, n, text)
		}
		if !strings.Contains(string(metrics), fmt.Sprintf("\nmailfarm_audit_%s %v\n", name, n)) {
			t.Errorf("/metrics does not say mailfarm_audit_%s %v", name, n)
		}
	}
}

// TestLostLedger takes away the whole index and ledger: what the blob store holds is delivered again.
func TestLostLedger(t *testing.T) {
	f := harness.StartDev(t)
	all := seed(t, f, "lost", alice)
	if err := f.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"index.db", "index.db-wal", "index.db-shm"} {
		if err := os.Remove(filepath.Join(f.Data, name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	f.Start()
	harness.Eventually(t, "the audit accounts for everything again", func() bool {
		a := f.Audit()
		return a.Accepted == uint64(len(all)) && a.Unaccounted == 0 && a.Pending == 0 && a.Queued == 0
	})
	wantLetters(t, inMailbox(f, alice, "INBOX"), all)
}

// TestAuditAlarm damages a frame behind everybody's back: the audit tells which, and ends with status 1.
func TestAuditAlarm(t *testing.T) {
	f := harness.StartDev(t)
	all := seed(t, f, "damaged", alice)
	if err := f.Stop(); err != nil {
		t.Fatal(err)
	}
	damage(t, filepath.Join(f.Data, "blob"), all[0].name)
	f.Start()
	out, code := f.CLIStatus("audit")
	if code != 1 || !regexp.MustCompile(`(?m)^unaccounted +[1-9]`).MatchString(out) || !strings.Contains(out, "is damaged") {
		t.Errorf("exit status %d, want 1 and the damage named:\n%s", code, out)
	}
	if a := f.Audit(); a.Unaccounted == 0 || len(a.Findings) == 0 {
		t.Errorf("audit --json tells %+v", a)
	}
}

// damage changes one octet in the files below a folder where the words stand.
func damage(t *testing.T, dir, words string) {
	t.Helper()
	done := false
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || done {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at := bytes.LastIndex(b, []byte(words)) // behind the body, in what describes it
		if at < 0 {
			return nil
		}
		b[at] ^= 1
		done = true
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil || !done {
		t.Fatalf("no file holds %q (%v)", words, err)
	}
}

// TestVerbsElsewhere are those that need no farm, and what the others say without one.
func TestVerbsElsewhere(t *testing.T) {
	out, code := verb(t, "version", "--json")
	var v struct{ Version, Go string }
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 || v.Version == "" || v.Go == "" {
		t.Errorf("version --json: exit status %d, %v\n%s", code, err, out)
	}
	if out, code := verb(t, "version"); code != 0 || !strings.HasPrefix(out, "mailfarm ") {
		t.Errorf("version: exit status %d\n%s", code, out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, code := verb(t, "completion", shell); code != 0 || !strings.Contains(out, "mailfarm") {
			t.Errorf("completion %s: exit status %d\n%.200s", shell, code, out)
		}
	}
	script, _ := verb(t, "completion", "bash")
	p := harness.NewProgram(t)
	p.Stdin = []byte(script)
	p.Run("bash", "-n")

	empty := t.TempDir()
	for _, args := range [][]string{{"queue", "list"}, {"audit"}, {"trace", "--since", "1h"}, {"account", "list"}} {
		out, code := verb(t, append(args, "--data", empty)...)
		if code != 2 || !strings.Contains(out, "mailfarm dev") || !strings.Contains(out, "--admin") {
			t.Errorf("mailfarm %v without a farm: exit status %d\n%s", args, code, out)
		}
	}
	out, code = verb(t, "queue", "list", "--admin", harness.FreeAddr(t))
	if code != 2 || !strings.Contains(out, "--cert") {
		t.Errorf("the admin port without a certificate: exit status %d\n%s", code, out)
	}
	for _, args := range [][]string{{}, {"account"}, {"account", "add"}, {"alias"}, {"alias", "set"}, {"domain", "add"}, {"queue", "list"}, {"queue", "hold"},
		{"trace"}, {"audit"}, {"dev"}, {"run"}, {"config", "check"}, {"account", "import"}} {
		out, code := verb(t, append(args, "--help")...)
		if leaf := len(args) != 1 || args[0] != "account" && args[0] != "alias"; code != 0 || leaf && !strings.Contains(out, "Examples:") {
			t.Errorf("mailfarm %v --help has no example: exit status %d\n%s", args, code, out)
		}
	}
	if out, code := verb(t, "qeue"); code != 2 || !strings.Contains(out, "qeue") {
		t.Errorf("an unknown verb: exit status %d\n%s", code, out)
	}
}

// TestSocketIsItsOwners: the socket is its owner's alone.
func TestSocketIsItsOwners(t *testing.T) {
	f := harness.StartDev(t)
	info, err := os.Stat(filepath.Join(f.Data, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the admin socket has the mode %v, want it to be its owner's alone", info.Mode())
	}
	socket := filepath.Join(f.Data, "admin.sock")
	for _, admin := range []string{socket, "unix:" + socket} {
		t.Setenv("MAILFARM_ADMIN", admin)
		if out, code := verb(t, "account", "list"); code != 0 || !strings.Contains(out, alice) {
			t.Errorf("with MAILFARM_ADMIN=%s: exit status %d\n%s", admin, code, out)
		}
	}
}
