package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/tests/harness"
)

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
