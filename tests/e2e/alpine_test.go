package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestAlpineReads drives alpine in a terminal: it logs in, opens a message, marks another as deleted, saves to a mailbox what a
// search of bodies finds, and expunges both as it quits.
func TestAlpineReads(t *testing.T) {
	harness.Need(t, "alpine", "tmux")
	f := harness.StartDev(t)
	appendMany(t, f, alice, "INBOX", numberedNames("alpine", 4)...)
	p := harness.NewProgram(t)
	rc := filepath.Join(p.Home, "pinerc")
	write(t, rc, "personal-name=Alice\nuser-domain=example.org\ninbox-path={localhost:"+harness.Port(f.IMAPS())+"/ssl/novalidate-cert/user="+alice+"}INBOX\n"+
		"folder-collections=Far {localhost:"+harness.Port(f.IMAPS())+"/ssl/novalidate-cert/user="+alice+"}[]\n"+
		"feature-list=enable-flag-cmd,quit-without-confirm,expunge-without-confirm,no-tips-on-startup,enable-aggregate-command-set\n"+
		"sort-key=Arrival\nlast-version-used=9.99\nnew-version-threshold=9.99\n")
	socket := filepath.Join(p.Home, "tmux")
	tmux := func(args ...string) string {
		out, _, _ := p.Try("tmux", append([]string{"-S", socket}, args...)...)
		return string(out)
	}
	t.Cleanup(func() { exec.Command("tmux", "-S", socket, "kill-server").Run() })
	p.Run("tmux", "-S", socket, "new-session", "-d", "-x", "100", "-y", "30", fmt.Sprintf("alpine -p %s -i", rc))
	// What it shows is waited for, then the next key is pressed.
	for _, act := range []struct{ shows, keys string }{
		{"ENTER PASSWORD", devPass + "\r"}, {"Preserve password", "n"},
		{"alpine-0003", "\r"}, {"The body of alpine-", "i"},
		{"MESSAGE INDEX", "nd"}, {"marked for deletion", ";"},
		{"SELECT criteria", "t"}, {"Select based on", "b"}, {"String in message", "The body of alpine-0002.\r"},
		{"matched 1", "a"}, {"APPLY command", "s"}, {"SAVE", "\x15Archive\r"}, {"Message 3 of 4 DEL", "q"},
	} {
		shown := ""
		t.Cleanup(func() {
			if t.Failed() && !strings.Contains(shown, act.shows) {
				t.Logf("alpine showed, and not %q:\n%s", act.shows, shown)
			}
		})
		harness.Eventually(t, "alpine to show "+act.shows, func() bool {
			shown = tmux("capture-pane", "-p")
			return strings.Contains(shown, act.shows)
		})
		for _, key := range act.keys {
			tmux("send-keys", "-l", strings.Replace(string(key), ";", `\;`, 1)) // a bare one would end tmux's command
		}
	}
	var flags map[imap.UID]string
	harness.Eventually(t, "alpine to expunge", func() bool {
		flags = flagsOf(t, f, alice, "INBOX")
		return len(flags) == 2
	})
	if all := fmt.Sprint(flags); strings.Count(all, `\Seen`) != 1 {
		t.Errorf("the flags are %v, want one message seen", flags)
	}
	if saved := f.Mailbox(alice, "Archive"); len(saved) != 1 || saved[0].Subject != "alpine-0002" {
		t.Errorf("Archive has %v", saved)
	}
}
