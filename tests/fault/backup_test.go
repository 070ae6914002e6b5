package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// crashPuttingBack loses all data, and dies while a backup is put back: the next restore ends well, and does nothing twice.
func crashPuttingBack(t *testing.T, point string) {
	w := newWorld(t, "")
	w.Start()
	names := []string{"first", "second", "third"}
	w.send(t, bob, names...)
	w.send(t, alice, "hers")
	tries := 0
	harness.Eventually(t, "a letter to be held", func() bool {
		name := fmt.Sprintf("later-%d", tries)
		tries++
		if err := w.Submit(alice, []string{name + "@remote.example"}, harness.Letter(name, alice, name), nil, nil); err != nil {
			t.Fatal(err)
		}
		w.CLI("queue", "hold", "--all")
		return w.Audit().Held > 0
	})
	held := w.Audit().Held
	before := w.Mailbox(bob, "INBOX")
	repository := filepath.Join(t.TempDir(), "repository")
	w.CLI("backup", "run", repository)
	sent := w.peer.Count("later-0")

	w.Kill()
	if err := os.RemoveAll(w.Data); err != nil {
		t.Fatal(err)
	}
	w.Start("MAILFARM_CRASH_AT=" + point)
	if out, status := w.CLIStatus("restore", "all", "--from", repository); status == 0 {
		t.Errorf("restore of a process that died: %s", out)
	}
	w.died(t, point)
	w.Start()
	for range 2 {
		w.CLI("restore", "all", "--from", repository)
		got := w.Mailbox(bob, "INBOX")
		harness.WantOnce(t, got, names)
		for i := range got {
			if i < len(before) && (got[i].UID != before[i].UID || !slices.Equal(got[i].Raw, before[i].Raw)) {
				t.Errorf("%s has UID %d and %d octets, and had UID %d and %d octets", got[i].Subject, got[i].UID, len(got[i].Raw), before[i].UID, len(before[i].Raw))
			}
		}
		harness.WantOnce(t, w.Mailbox(alice, "INBOX"), []string{"hers"})
		if a := w.Audit(); a.Held != held || a.Queued != 0 || a.Unaccounted != 0 {
			t.Errorf("audit: %+v, want %d held", a, held)
		}
	}
	if n := w.peer.Count("later-0"); n != sent {
		t.Errorf("a letter that is held was sent: %d times, not %d", n, sent)
	}
	w.sound(t)
}
