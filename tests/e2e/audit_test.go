package e2e

import (
	"bytes"
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

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestAudit counts, as text, as JSON and as metrics under the same names.
func TestAudit(t *testing.T) {
	f := harness.StartDev(t, "--config", harness.ConfigFile(t, "ledger: {audit_every: 1s}\n"))
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
	var metrics string
	harness.Eventually(t, "the auditor's metrics", func() bool {
		metrics = get(t, f.HTTP()+"/metrics")
		return strings.Contains(metrics, "\nmailfarm_audit_delivered 6\n")
	})
	for name, n := range want {
		if counts[name] != n {
			t.Errorf("audit --json says %s %v, want %v", name, counts[name], n)
		}
		if name != "frames" && !regexp.MustCompile(fmt.Sprintf(`(?m)^%s +%v  `, name, n)).MatchString(text) {
			t.Errorf("audit does not say %s %v:\n%s", name, n, text)
		}
		if !strings.Contains(metrics, fmt.Sprintf("\nmailfarm_audit_%s %v\n", name, n)) {
			t.Errorf("/metrics does not say mailfarm_audit_%s %v", name, n)
		}
	}
}

// get reads a page.
func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get("http://" + url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestLostLedger takes away the whole index and ledger: what the blob store holds is delivered again.
func TestLostLedger(t *testing.T) {
	harness.OneProcess(t)
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
	blobs := filepath.Join(f.Data, "blob")
	if harness.InParts() {
		blobs = f.Servers.S3.Root
	}
	damage(t, blobs, all[0].name)
	f.Start()
	out, code := f.CLIStatus("audit", "--full") // what was settled before is not looked at otherwise
	if code != 1 || !regexp.MustCompile(`(?m)^unaccounted +[1-9]`).MatchString(out) || !strings.Contains(out, "is damaged") {
		t.Errorf("exit status %d, want 1 and the damage named:\n%s", code, out)
	}
	if !strings.Contains(out, queueID(t, f, all[0].name)) {
		t.Errorf("the damaged message is not named:\n%s", out)
	}
	// It stops nothing else.
	if err := harness.Send(f.SMTP(), carol, []string{bob}, harness.Letter("behind", carol, bob)); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "a letter behind the damaged one", func() bool {
		return slices.ContainsFunc(f.Mailbox(bob, "INBOX"), func(m harness.Message) bool { return m.Subject == "behind" })
	})
}

// queueID is that of a letter in the ledger.
func queueID(t *testing.T, f *harness.Farm, name string) string {
	t.Helper()
	found := fromJSON[[]struct {
		QueueID string `json:"queue_id"`
	}](t, f, "trace", "--message-id", "<"+name+"@letters.example>")
	if len(found) != 1 {
		t.Fatalf("trace of %s tells %+v", name, found)
	}
	return found[0].QueueID
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
