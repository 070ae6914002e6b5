package fault

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// mboxOf writes a file of so many messages, which have UIDs, and tells their subjects.
func mboxOf(t *testing.T, n int) (path string, subjects []string) {
	t.Helper()
	var b strings.Builder
	for i := range n {
		subject := fmt.Sprintf("imported %04d", i)
		subjects = append(subjects, subject)
		fmt.Fprintf(&b, "From bob@example.org Sat Nov 21 10:11:12 2020\nSubject: %s\n", subject)
		if i == 0 {
			b.WriteString("X-IMAPbase: 1600000000 0000009000\n")
		}
		fmt.Fprintf(&b, "X-UID: %d\nStatus: RO\n\n%s\n", 2*i+1, strings.Repeat("x\n", 200))
	}
	path = filepath.Join(t.TempDir(), "mbox")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, subjects
}

// wantImported looks that each message is there once, with the UID that it had.
func (w *world) wantImported(t *testing.T, subjects []string) {
	t.Helper()
	list := w.Mailbox(alice, "Old")
	var got []string
	for i, m := range list {
		got = append(got, m.Subject)
		if int(m.UID) != 2*i+1 {
			t.Errorf("%s has UID %d, want %d", m.Subject, m.UID, 2*i+1)
			break
		}
	}
	if !slices.Equal(got, subjects) {
		t.Errorf("%d messages, want the %d that were imported", len(got), len(subjects))
	}
}

// crashImporting is for the points of an import: the second batch dies there. The importer waits for the farm and goes on, or is
// given again.
func crashImporting(t *testing.T, point string) {
	w := newWorld(t, "")
	w.Start()
	w.stop(t)
	path, subjects := mboxOf(t, 600)
	w.Launch("MAILFARM_CRASH_AT=" + point + ":2")
	w.Process("all").WaitReady()
	done := make(chan string, 1)
	go func() {
		out, code := w.CLIStatus("import", alice, path, "--into", "Old")
		done <- fmt.Sprintf("exit status %d\n%s", code, out)
	}()
	w.died(t, point)
	w.Start()
	out := <-done
	if code, again := w.CLIStatus("import", alice, path, "--into", "Old"); again != 0 {
		t.Errorf("import again: exit status %d\n%s\nfirst: %s", again, code, out)
	}
	w.wantImported(t, subjects)
}

// TestImportIsKilled kills importers, and the farm beneath one, at random times.
func TestImportIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "")
	w.Start()
	path, subjects := mboxOf(t, 1500)
	for i := range 4 {
		ctx, cancel := context.WithCancel(context.Background())
		cmd := exec.CommandContext(ctx, harness.Binary(t), "import", alice, path, "--into", "Old", "--data", w.Data)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before := w.stored()
		harness.Eventually(t, fmt.Sprintf("run %d brings something", i), func() bool { n := w.stored(); return n > before || n == len(subjects) })
		if i == 2 {
			w.Kill()
			w.Start()
		}
		cancel() // kill -9
		cmd.Wait()
	}
	if out, code := w.CLIStatus("import", alice, path, "--into", "Old"); code != 0 {
		t.Errorf("the last: exit status %d\n%s", code, out)
	}
	w.wantImported(t, subjects)
}

// stored is how many messages have come so far.
func (w *world) stored() int {
	c := w.IMAPClient(alice)
	defer c.Close()
	data, err := c.Select("Old", nil).Wait()
	if err != nil {
		return 0
	}
	return int(data.NumMessages)
}
