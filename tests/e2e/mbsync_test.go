package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestMbsyncSyncs copies all mailboxes to a maildir and back, with flags and removals, in both directions.
func TestMbsyncSyncs(t *testing.T) {
	harness.Need(t, "mbsync")
	f := harness.StartDev(t)
	all := seed(t, f, "mbsync", alice)
	p := harness.NewProgram(t)
	near := filepath.Join(p.Home, "near")
	if err := os.Mkdir(near, 0o700); err != nil {
		t.Fatal(err)
	}
	rc := filepath.Join(p.Home, "mbsyncrc")
	write(t, rc, fmt.Sprintf("IMAPAccount farm\nHost localhost\nPort %s\nUser %s\nPass %s\nSSLType IMAPS\nCertificateFile %s\n\n"+
		"IMAPStore far\nAccount farm\n\nMaildirStore near\nPath %s/\nInbox %[5]s/INBOX\nSubFolders Verbatim\n\n"+
		"Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\nSyncState *\n",
		harness.Port(f.IMAPS()), alice, devPass, f.CA(), near))
	sync := func() { p.Run("mbsync", "-c", rc, "all") }

	if said := p.Run("mbsync", "-Dn", "-c", rc, "all"); !bytes.Contains(said, []byte("COMPRESS DEFLATE")) {
		t.Errorf("nothing was compressed:\n%.4000s", said)
	}
	for _, folder := range []string{"INBOX", "Sent", "Drafts", "Junk", "Trash", "Archive"} {
		if _, err := os.Stat(filepath.Join(near, folder)); err != nil {
			t.Errorf("mailbox %s did not come near: %v", folder, err)
		}
	}
	inbox := filepath.Join(near, "INBOX")
	wantLetters(t, withoutTUID(harness.Maildir(t, inbox)), all)

	t.Run("near to far", func(t *testing.T) {
		files := nearFiles(t, inbox)
		markNear(t, files[all[0].name], "F") // flagged
		markNear(t, files[all[1].name], "T") // trashed
		written := letters("written", alice, bob)
		for i, l := range written {
			write(t, filepath.Join(near, "Sent", "cur", fmt.Sprintf("1.%d.here:2,S", i)), strings.ReplaceAll(string(l.raw), "\r\n", "\n"))
		}
		makeMaildir(t, filepath.Join(near, "Projects"))
		sync()
		var sent [][]byte
		for _, raw := range withoutTUID(inMailbox(f, alice, "Sent")) {
			sent = append(sent, append([]byte("Return-Path: <>\r\n"), raw...)) // APPEND puts nothing before it
		}
		wantLetters(t, sent, written)
		flags := flagsOf(t, f, alice, "INBOX")
		if !strings.Contains(flags[1], `\Flagged`) {
			t.Errorf("message 1 has the flags %s, want it flagged", flags[1])
		}
		if _, there := flags[2]; there || len(flags) != len(all)-1 {
			t.Errorf("message 2 was trashed near and is still far: %v", flags)
		}
		f.Mailbox(alice, "Projects") // fails where it was not made
	})
	t.Run("far to near", func(t *testing.T) {
		c := f.IMAPClient(alice)
		defer c.Logout()
		store(t, c, "INBOX", 3, `\Answered`, `\Seen`)
		store(t, c, "INBOX", 4, `\Deleted`)
		if err := c.Expunge().Close(); err != nil {
			t.Fatal(err)
		}
		more := seed(t, f, "later", alice)
		sync()
		wantLetters(t, withoutTUID(harness.Maildir(t, inbox)), more)
		files := nearFiles(t, inbox)
		if name := files[all[2].name]; !strings.HasSuffix(name, ":2,RS") {
			t.Errorf("the flags of message 3 did not come near: %s", name)
		}
		if name, there := files[all[3].name]; there {
			t.Errorf("message 4 was removed far and is still near: %s", name)
		}
	})
}

// withoutTUID takes out the field by which mbsync recognizes what it copied.
func withoutTUID(messages [][]byte) [][]byte {
	var out [][]byte
	for _, m := range messages {
		if before, rest, ok := bytes.Cut(m, []byte("X-TUID: ")); ok {
			_, after, _ := bytes.Cut(rest, []byte("\r\n"))
			m = append(append([]byte(nil), before...), after...)
		}
		out = append(out, m)
	}
	return out
}
