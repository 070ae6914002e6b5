package imap_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// TestManyFolders: an account may have as many mailboxes as the index allows, of which one is told from the next, and a tree of
// them moves in one step.
func TestManyFolders(t *testing.T) {
	const mailboxes = index.MaxMailboxes
	if testing.Short() {
		t.Skip("takes a while")
	}
	f := startFarm(t, nil)
	user, account := f.account(t)
	list, err := f.mailboxes.List(t.Context(), &storev1.ListRequest{Account: account})
	check(t, err)
	left := mailboxes - len(list.GetMailboxes()) - 1 // one is the tree's
	names := make(chan string)
	var makers sync.WaitGroup
	for range 16 {
		makers.Go(func() {
			for name := range names {
				if _, err := f.mailboxes.Create(t.Context(), &storev1.CreateRequest{Account: account, Name: name}); err != nil {
					t.Errorf("Create(%q): %v", name, err)
				}
			}
		})
	}
	for i := range left {
		names <- fmt.Sprintf("tree/%d", i)
	}
	close(names)
	makers.Wait()
	c := dial(t, f.addr, false)
	c.readLine()
	say := func(command string) (lines []string) {
		t.Helper()
		fmt.Fprintf(c, "x %s\r\n", command)
		for {
			line, err := c.readLine()
			check(t, err)
			if lines = append(lines, line); strings.HasPrefix(line, "x ") {
				return lines
			}
		}
	}
	last := func(command, want string) {
		t.Helper()
		if lines := say(command); !strings.HasPrefix(lines[len(lines)-1], want) {
			t.Errorf("%s: %q, want %q", command, lines[len(lines)-1], want)
		}
	}
	last("LOGIN "+user+" "+quote(password), "x OK")
	if n := len(say(`LIST "" *`)) - 1; n != mailboxes {
		t.Errorf("%d mailboxes are listed, want %d", n, mailboxes)
	}
	last("CREATE more", "x NO")
	last("RENAME tree wood", "x OK")
	if n := len(say(`LIST "" wood/%`)) - 1; n != left {
		t.Errorf("%d mailboxes were moved, want %d", n, left)
	}
	last("STATUS wood/77 (MESSAGES)", "x OK")
	last("STATUS tree/77 (MESSAGES)", "x NO")
	last("DELETE wood/77", "x OK")
	last("CREATE more", "x OK")
	last("CREATE evenmore", "x NO")
}
