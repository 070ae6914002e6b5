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
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// bulkLetter is one of many small messages.
func bulkLetter(name string) string {
	return fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nDate: Sat, 21 Nov 2026 11:00:00 +0000\r\nMessage-ID: <%[3]s@bulk.example>\r\n\r\nThe body of %[3]s.\r\n", carol, alice, name)
}

// appendMany puts messages into a mailbox by IMAP, each command sent without waiting for the answers of those before it.
func appendMany(t *testing.T, f *harness.Farm, user, mailbox string, names ...string) {
	t.Helper()
	c := f.IMAPClient(user)
	defer c.Logout()
	var sent []*imapclient.AppendCommand
	for _, name := range names {
		raw := bulkLetter(name)
		w := c.Append(mailbox, int64(len(raw)), nil)
		if _, err := w.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, w)
	}
	for i, w := range sent {
		if _, err := w.Wait(); err != nil {
			t.Fatalf("APPEND %s: %v", names[i], err)
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

// nearFiles are the files of a maildir, by subject. A message that is there twice is an error.
func nearFiles(t *testing.T, dir string) map[string]string {
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
			if _, twice := all[string(m[1])]; twice {
				t.Errorf("%s is near twice", m[1])
			}
			all[string(m[1])] = path
		}
	}
	return all
}

// markNear gives a message in a maildir flags in place of those it had.
func markNear(t *testing.T, path, flags string) {
	t.Helper()
	base, _, _ := strings.Cut(filepath.Base(path), ":")
	if err := os.Rename(path, filepath.Join(filepath.Dir(filepath.Dir(path)), "cur", base+":2,"+flags)); err != nil {
		t.Fatal(err)
	}
}

// farMessages are the messages of the selected mailbox, by subject. A message that is there twice is an error.
func farMessages(t *testing.T, c *imapclient.Client) map[string]*imapclient.FetchMessageBuffer {
	t.Helper()
	all := map[string]*imapclient.FetchMessageBuffer{}
	var every imap.UIDSet
	every.AddRange(1, 0)
	got, err := c.Fetch(every, &imap.FetchOptions{UID: true, Envelope: true, Flags: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range got {
		if _, twice := all[m.Envelope.Subject]; twice {
			t.Errorf("%s is far twice", m.Envelope.Subject)
		}
		all[m.Envelope.Subject] = m
	}
	return all
}

// sides are the two places that a program keeps alike, a maildir and INBOX, and what is to be in both: flags by subject, as a
// maildir has them.
type sides struct {
	t    *testing.T
	farm *harness.Farm
	near string
	want map[string]string
}

// alike checks both sides.
func (s *sides) alike(when string) {
	s.t.Helper()
	near, far := map[string]string{}, map[string]string{}
	for name, path := range nearFiles(s.t, s.near) {
		_, near[name], _ = strings.Cut(filepath.Base(path), ":2,")
	}
	c := s.farm.IMAPClient(alice)
	defer c.Logout()
	if _, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		s.t.Fatal(err)
	}
	for name, m := range farMessages(s.t, c) {
		far[name] = maildirFlags(m.Flags)
	}
	for side, have := range map[string]map[string]string{"near": near, "far": far} {
		if maps.Equal(have, s.want) {
			continue
		}
		for name := range s.want {
			if got, there := have[name]; !there || got != s.want[name] {
				s.t.Fatalf("%s: %s %s is there: %t, with flags %q, want %q", when, side, name, there, got, s.want[name])
			}
		}
		s.t.Fatalf("%s: %d messages are %s, want %d", when, len(have), side, len(s.want))
	}
}

// maildirFlags are flags of IMAP as a maildir has them.
func maildirFlags(flags []imap.Flag) string {
	letters := ""
	for _, k := range []struct {
		flag   imap.Flag
		letter string
	}{{imap.FlagDraft, "D"}, {imap.FlagFlagged, "F"}, {imap.FlagAnswered, "R"}, {imap.FlagSeen, "S"}, {imap.FlagDeleted, "T"}} {
		if slices.Contains(flags, k.flag) {
			letters += k.letter
		}
	}
	return letters
}

// new puts messages on each side.
func (s *sides) new(prefix string, n int) {
	s.t.Helper()
	far, near := numberedNames(prefix+"far", n), numberedNames(prefix+"near", n)
	appendMany(s.t, s.farm, alice, "INBOX", far...)
	nearMany(s.t, s.near, near...)
	for _, name := range slices.Concat(far, near) {
		s.want[name] = ""
	}
}

// change gives flags and removes: far what was written near, and near what was written far. What an earlier change flagged loses
// its flag again.
func (s *sides) change(flagged, unflagged, removed []int) {
	s.t.Helper()
	c := s.farm.IMAPClient(alice)
	defer c.Logout()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		s.t.Fatal(err)
	}
	far, near := farMessages(s.t, c), nearFiles(s.t, s.near)
	name := func(side string, i int) string { return fmt.Sprintf("%s-%04d", side, i) }
	mark := func(numbers []int, op imap.StoreFlagsOp, flag imap.Flag, letter, flags string) {
		var uids imap.UIDSet
		for _, i := range numbers {
			uids.AddNum(far[name("near", i)].UID)
			markNear(s.t, near[name("far", i)], letter)
			s.want[name("near", i)], s.want[name("far", i)] = flags, letter
		}
		if len(numbers) == 0 {
			return
		}
		if err := c.Store(uids, &imap.StoreFlags{Op: op, Silent: true, Flags: []imap.Flag{flag}}, nil).Close(); err != nil {
			s.t.Fatal(err)
		}
	}
	mark(flagged, imap.StoreFlagsAdd, imap.FlagFlagged, "S", "F")
	mark(unflagged, imap.StoreFlagsDel, imap.FlagFlagged, "", "")
	var gone imap.UIDSet
	for _, i := range removed {
		gone.AddNum(far[name("near", i)].UID)
		if err := os.Remove(near[name("far", i)]); err != nil {
			s.t.Fatal(err)
		}
		delete(s.want, name("near", i))
		delete(s.want, name("far", i))
	}
	if err := c.Store(gone, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
		s.t.Fatal(err)
	}
	if err := c.Expunge().Close(); err != nil {
		s.t.Fatal(err)
	}
}

// syncs tries a program that keeps a maildir and INBOX alike: what came, was flagged, lost its flag or was removed on either side
// is so on both behind the next run, and another run changes nothing. Half of the n messages come from each side.
func syncs(t *testing.T, f *harness.Farm, near string, n int, sync func()) {
	t.Helper()
	s := &sides{t, f, near, map[string]string{}}
	numbers := func(from, to int) (all []int) {
		for i := from; i < to; i++ {
			all = append(all, i)
		}
		return all
	}
	sync() // makes the maildir, where there is none
	s.new("", n/2)
	sync()
	s.alike("first")
	some := n / 40
	s.change(numbers(0, some), nil, numbers(some, 2*some))
	s.new("second-", some)
	sync()
	s.alike("second")
	s.change(numbers(2*some, 3*some), numbers(0, some), numbers(3*some, 4*some))
	s.new("third-", some)
	sync()
	s.alike("third")
	sync()
	s.alike("third, again")
	for _, m := range f.Mailbox(alice, "INBOX") {
		if !bytes.Contains(m.Raw, []byte("\r\n\r\nThe body of "+m.Subject+".\r\n")) {
			t.Fatalf("%s did not come as it was:\n%s", m.Subject, m.Raw)
		}
	}
}
