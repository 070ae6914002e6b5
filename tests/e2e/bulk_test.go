package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// bulkLetter is one of many small messages.
func bulkLetter(name string) string {
	return fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: Sat, 21 Nov 2026 11:00:00 +0000\r\nMessage-ID: <%[3]s@bulk.example>\r\n\r\nThe body of %[3]s.\r\n", carol, alice, name)
}

// appendMany puts messages into a mailbox by IMAP.
func appendMany(t *testing.T, f *harness.Farm, user, mailbox string, names ...string) {
	t.Helper()
	c := f.IMAPClient(user)
	defer c.Logout()
	for _, name := range names {
		raw := bulkLetter(name)
		w := c.Append(mailbox, int64(len(raw)), nil)
		if _, err := w.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

// nearMany puts messages into a maildir.
func nearMany(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		write(t, filepath.Join(dir, "cur", "1."+name+".here:2,"), strings.ReplaceAll(bulkLetter(name), "\r\n", "\n"))
	}
}

// numberedNames are names of messages.
func numberedNames(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s-%04d", prefix, i))
	}
	return all
}

var bulkName = regexp.MustCompile(`(?m)^Subject: (\S+)\r?$`)

// nearSide is what is in a maildir: flags by subject. A message that is there twice is an error.
func nearSide(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, sub := range []string{"new", "cur"} {
		files, err := filepath.Glob(filepath.Join(dir, sub, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			m := bulkName.FindSubmatch(raw)
			if m == nil {
				t.Fatalf("%s has no subject", path)
			}
			_, info, _ := strings.Cut(filepath.Base(path), ":2,")
			if _, twice := all[string(m[1])]; twice {
				t.Errorf("%s is near twice", m[1])
			}
			all[string(m[1])] = keepFlags(info)
		}
	}
	return all
}

// keepFlags are the flags of a maildir that both sides know: flagged and seen.
func keepFlags(info string) string {
	kept := ""
	for _, c := range "FS" {
		if strings.ContainsRune(info, c) {
			kept += string(c)
		}
	}
	return kept
}

// farSide is what is in a mailbox: flags as a maildir has them, by subject.
func farSide(t *testing.T, f *harness.Farm, user, mailbox string) map[string]string {
	t.Helper()
	c := f.IMAPClient(user)
	defer c.Logout()
	selected, err := c.Select(mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	if selected.NumMessages == 0 {
		return all
	}
	var set imap.SeqSet
	set.AddRange(1, selected.NumMessages)
	got, err := c.Fetch(set, &imap.FetchOptions{Envelope: true, Flags: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range got {
		info := ""
		for _, flag := range m.Flags {
			switch flag {
			case imap.FlagFlagged:
				info += "F"
			case imap.FlagSeen:
				info += "S"
			case imap.FlagDeleted:
				info += "T"
			}
		}
		if _, twice := all[m.Envelope.Subject]; twice {
			t.Errorf("%s is far twice", m.Envelope.Subject)
		}
		all[m.Envelope.Subject] = keepFlags(info)
	}
	return all
}

// syncs tries a program that keeps a maildir and INBOX alike: what came, was flagged or removed on either side is so on both
// behind the next run, and another run changes nothing.
func syncs(t *testing.T, f *harness.Farm, near string, sync func()) {
	t.Helper()
	const each, some = 500, 25
	want := map[string]string{}
	appendMany(t, f, alice, "INBOX", numberedNames("far", each)...)
	sync() // makes the maildir, where there is none
	nearMany(t, near, numberedNames("near", each)...)
	sync()
	for _, name := range slices.Concat(numberedNames("far", each), numberedNames("near", each)) {
		want[name] = ""
	}
	same := func(when string) {
		t.Helper()
		for side, have := range map[string]map[string]string{"near": nearSide(t, near), "far": farSide(t, f, alice, "INBOX")} {
			if maps.Equal(have, want) {
				continue
			}
			for name := range want {
				if got, there := have[name]; !there || got != want[name] {
					t.Fatalf("%s: %s %s is there: %t, with flags %q, want %q", when, side, name, there, got, want[name])
				}
			}
			t.Fatalf("%s: %d messages are %s, want %d", when, len(have), side, len(want))
		}
	}
	same("first")
	for round := range 2 {
		// Far: flagged, removed, new. Near: the same to others.
		first := round * 3 * some
		c := f.IMAPClient(alice)
		if _, err := c.Select("INBOX", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		mark := func(prefix string, from int, flag imap.Flag) {
			for i := from; i < from+some; i++ {
				found, err := c.UIDSearch(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: fmt.Sprintf("%s-%04d", prefix, i)}}}, nil).Wait()
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Store(found.All, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}, nil).Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		mark("near", first, imap.FlagFlagged)
		mark("near", first+some, imap.FlagDeleted)
		if err := c.Expunge().Close(); err != nil {
			t.Fatal(err)
		}
		c.Logout()
		fresh := numberedNames(fmt.Sprintf("fresh-far-%d", round), some)
		appendMany(t, f, alice, "INBOX", fresh...)
		near1 := numberedNames(fmt.Sprintf("fresh-near-%d", round), some)
		nearMany(t, near, near1...)
		for i := first; i < first+some; i++ {
			far := fmt.Sprintf("far-%04d", i)
			markNear(t, near, far, "S")
			want[far], want[fmt.Sprintf("near-%04d", i)] = "S", "F"
			gone := fmt.Sprintf("far-%04d", i+some)
			if err := os.Remove(nearFile(t, near, gone)); err != nil {
				t.Fatal(err)
			}
			delete(want, gone)
			delete(want, fmt.Sprintf("near-%04d", i+some))
		}
		for _, name := range append(fresh, near1...) {
			want[name] = ""
		}
		sync()
		same(fmt.Sprintf("round %d", round))
		sync()
		same(fmt.Sprintf("round %d, again", round))
	}
	for _, m := range f.Mailbox(alice, "INBOX") {
		if !bytes.Contains(m.Raw, []byte("\r\n\r\nThe body of "+m.Subject+".\r\n")) {
			t.Fatalf("%s did not come as it was:\n%s", m.Subject, m.Raw)
		}
	}
}
