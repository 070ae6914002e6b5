package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestEvolutionWorks drives the mail library of Evolution (of the package evolution-data-server), with QRESYNC: folders, reading,
// searching, flags, copies, moves, removals and writing; then what another client changed, and what it changed while offline.
func TestEvolutionWorks(t *testing.T) {
	harness.NeedTypelib(t, "Camel", "1.2")
	providers := harness.Unpacked(t, "evolution-data-server", "usr/lib/evolution-data-server/camel-providers")
	f := harness.StartDev(t)
	appendMany(t, f, alice, "INBOX", numberedNames("seeded", 5)...)
	script, err := filepath.Abs("testdata/camel.py")
	if err != nil {
		t.Fatal(err)
	}
	p := harness.NewProgram(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*harness.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.SystemPython, script, harness.Port(f.IMAPS()), f.CA(), alice, devPass, p.Home)
	cmd.Env = append(os.Environ(), "HOME="+p.Home, "LC_ALL=C.UTF-8", "CAMEL_DEBUG=imapx:io", "EDS_CAMEL_PROVIDER_DIR="+providers)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wishes := map[string]func(){
		"change":  func() { meanwhile(t, f, "new", "seeded-0002", "seeded-0001", imap.FlagAnswered) },
		"offline": func() { meanwhile(t, f, "offline", "written", "new", imap.FlagSeen) },
	}
	var said strings.Builder // and what it heard
	ended := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		fmt.Fprintln(&said, line)
		if do := wishes[line]; do != nil {
			delete(wishes, line)
			do()
			if _, err := in.Write([]byte("done\n")); err != nil {
				t.Error(err)
			}
		}
		ended = ended || line == "end"
	}
	if err := cmd.Wait(); err != nil || !ended || len(wishes) != 0 {
		t.Fatalf("it ended with %v, %d wishes open:\n%s\n%s", err, len(wishes), said.String()[max(0, said.Len()-8<<10):], complaints.String())
	}
	for _, used := range []string{"ENABLE CONDSTORE QRESYNC", "(QRESYNC (", "UID MOVE ", "NOTIFY SET ("} {
		if !strings.Contains(said.String(), used) {
			t.Errorf("it did not use %s:\n%s", used, said.String())
		}
	}
	var left []string
	for _, m := range f.Mailbox(alice, "Evolution/Gelesen") {
		left = append(left, m.Subject)
	}
	if got := strings.Join(left, " "); got != "seeded-0000 seeded-0004" {
		t.Errorf("Evolution/Gelesen has %s", got)
	}
	if flags := flagsOf(t, f, alice, "Evolution/Gelesen")[1]; !strings.Contains(flags, `\Flagged`) || !strings.Contains(flags, `\Seen`) {
		t.Errorf("what was copied has the flags %s", flags)
	}
}

// meanwhile is another client: it brings one message, removes one, and gives one a flag. Nothing in INBOX stays flagged.
func meanwhile(t *testing.T, f *harness.Farm, brought, removed, flagged string, flag imap.Flag) {
	t.Helper()
	appendMany(t, f, alice, "INBOX", brought)
	c := f.IMAPClient(alice)
	defer c.Logout()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	there := farMessages(t, c)
	var all imap.UIDSet
	all.AddRange(1, 0)
	for _, s := range []struct {
		uids imap.UIDSet
		op   imap.StoreFlagsOp
		flag imap.Flag
	}{
		{all, imap.StoreFlagsDel, imap.FlagFlagged},
		{imap.UIDSetNum(there[flagged].UID), imap.StoreFlagsAdd, flag},
		{imap.UIDSetNum(there[removed].UID), imap.StoreFlagsAdd, imap.FlagDeleted},
	} {
		if err := c.Store(s.uids, &imap.StoreFlags{Op: s.op, Flags: []imap.Flag{s.flag}}, nil).Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
}
