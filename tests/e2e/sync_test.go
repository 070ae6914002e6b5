package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// alikeMessages is how many messages the programs keep alike.
const alikeMessages = 5000

// TestMbsyncKeepsAlike keeps many messages alike on both sides over changes on both. Every session of it asks for COMPRESS, and
// the server says that it compressed.
func TestMbsyncKeepsAlike(t *testing.T) {
	harness.Need(t, "mbsync")
	f := harness.StartDev(t)
	p := harness.NewProgram(t)
	near := makeMaildir(t, filepath.Join(p.Home, "INBOX"))
	rc := filepath.Join(p.Home, "mbsyncrc")
	write(t, rc, fmt.Sprintf("FSync no\nIMAPAccount farm\nHost localhost\nPort %s\nUser %s\nPass %s\nSSLType IMAPS\nCertificateFile %s\n\n"+
		"IMAPStore far\nAccount farm\n\nMaildirStore near\nInbox %s\n\n"+
		"Channel all\nFar :far:INBOX\nNear :near:INBOX\nCreate Near\nExpunge Both\nSyncState *\n",
		harness.Port(f.IMAPS()), alice, devPass, f.CA(), near))
	p.Limit = 10 * harness.Limit
	sessions := 0
	syncs(t, f, near, alikeMessages, func() {
		p.Run("mbsync", "-c", rc, "all")
		sessions++
	})
	if !harness.InParts() { // there each process counts for itself
		want := fmt.Sprintf("\nmailfarm_imap_commands_total{command=\"COMPRESS\",result=\"ok\"} %d\n", sessions)
		if got := get(t, f.HTTP()+"/metrics"); !strings.Contains(got, want) {
			t.Errorf("%d sessions of mbsync, and the metrics do not say%s", sessions, want)
		}
	}
}

// TestOfflineimapKeepsAlike does the same with offlineimap, which remembers UIDs and not MODSEQs. It is slow by itself, so that
// over a farm of processes it gets fewer messages.
func TestOfflineimapKeepsAlike(t *testing.T) {
	harness.Need(t, "offlineimap")
	n := alikeMessages
	if harness.InParts() {
		n /= 10
	}
	f := harness.StartDev(t)
	p := harness.NewProgram(t)
	rc := filepath.Join(p.Home, "offlineimaprc")
	write(t, rc, fmt.Sprintf("[general]\naccounts = a\nmetadata = %[1]s/meta\nfsync = False\n\n[Account a]\nlocalrepository = near\nremoterepository = far\n\n"+
		"[Repository near]\ntype = Maildir\nlocalfolders = %[1]s/near\n\n"+
		"[Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = %[2]s\nremoteuser = %[3]s\nremotepass = %[4]s\nssl = yes\nsslcacertfile = %[5]s\n"+
		"folderfilter = lambda name: name == 'INBOX'\n", p.Home, harness.Port(f.IMAPS()), alice, devPass, f.CA()))
	p.Limit = 10 * harness.Limit
	syncs(t, f, filepath.Join(p.Home, "near", "INBOX"), n, func() { p.Run("offlineimap", "-o", "-u", "quiet", "-c", rc) })
}
