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

// TestAlpineReads drives alpine in a terminal: it logs in, opens a message, marks another as deleted and expunges it as it quits.
func TestAlpineReads(t *testing.T) {
	harness.Need(t, "alpine", "tmux")
	f := harness.StartDev(t)
	appendMany(t, f, alice, "INBOX", numberedNames("alpine", 3)...)
	p := harness.NewProgram(t)
	rc := filepath.Join(p.Home, "pinerc")
	write(t, rc, "personal-name=Alice\nuser-domain=example.org\ninbox-path={localhost:"+harness.Port(f.IMAPS())+"/ssl/novalidate-cert/user="+alice+"}INBOX\n"+
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
		{"alpine-0002", "\r"}, {"The body of alpine-", "i"},
		{"MESSAGE INDEX", "nd"}, {"marked for deletion", "q"},
	} {
		harness.Eventually(t, "alpine to show "+act.shows, func() bool { return strings.Contains(tmux("capture-pane", "-p"), act.shows) })
		for _, key := range act.keys {
			tmux("send-keys", "-l", string(key))
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
}
