package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestMbsyncKeepsAlike keeps a thousand messages alike on both sides over changes on both, with the deflate that mbsync uses.
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
	syncs(t, f, near, func() { p.Run("mbsync", "-c", rc, "all") })
}

// TestOfflineimapKeepsAlike does the same with offlineimap, which remembers UIDs and not MODSEQs.
func TestOfflineimapKeepsAlike(t *testing.T) {
	harness.Need(t, "offlineimap")
	f := harness.StartDev(t)
	p := harness.NewProgram(t)
	rc := filepath.Join(p.Home, "offlineimaprc")
	write(t, rc, fmt.Sprintf("[general]\naccounts = a\nmetadata = %[1]s/meta\nfsync = False\n\n[Account a]\nlocalrepository = near\nremoterepository = far\n\n"+
		"[Repository near]\ntype = Maildir\nlocalfolders = %[1]s/near\n\n"+
		"[Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = %[2]s\nremoteuser = %[3]s\nremotepass = %[4]s\nssl = yes\nsslcacertfile = %[5]s\n"+
		"folderfilter = lambda name: name == 'INBOX'\n", p.Home, harness.Port(f.IMAPS()), alice, devPass, f.CA()))
	syncs(t, f, filepath.Join(p.Home, "near", "INBOX"), func() { p.Run("offlineimap", "-o", "-u", "quiet", "-c", rc) })
}
