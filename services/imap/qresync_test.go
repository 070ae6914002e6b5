package imap_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	vanishedLine = regexp.MustCompile(`^\* VANISHED (\(EARLIER\) )?([0-9:,]+)$`)
)

// numbersOf gives the numbers of a set.
func numbersOf(t testing.TB, set string) []int {
	t.Helper()
	var out []int
	for r := range strings.SplitSeq(set, ",") {
		first, last, ok := strings.Cut(r, ":")
		if !ok {
			last = first
		}
		a, _ := strconv.Atoi(first)
		b, _ := strconv.Atoi(last)
		if a < 1 || b < a || b-a > 1_000_000 {
			t.Fatalf("set %q", set)
		}
		for n := a; n <= b; n++ {
			out = append(out, n)
		}
	}
	return out
}

// replica is a client that keeps a mailbox by UID and comes back from time to time.
type replica struct {
	validity, modSeq string
	flags            map[int]string
}

// sync brings the replica up to date over a new connection, by as few words as QRESYNC needs, and returns how many messages
// it was told of.
func (r *replica) sync(t *testing.T, f *farm, user string, known string) int {
	t.Helper()
	c := dial(t, f.addr, false)
	defer c.Close()
	say := func(tag, command string) []string {
		t.Helper()
		fmt.Fprintf(c, "%s %s\r\n", tag, command)
		var lines []string
		for {
			line, err := c.readLine()
			if err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			lines = append(lines, line)
			if rest, ok := strings.CutPrefix(line, tag+" "); ok {
				if !strings.HasPrefix(rest, "OK") {
					t.Fatalf("%s: %s", command, line)
				}
				return lines
			}
		}
	}
	if _, err := c.readLine(); err != nil {
		t.Fatal(err)
	}
	say("a", "LOGIN "+user+" "+quote(password))
	say("b", "ENABLE QRESYNC")
	command := "SELECT INBOX"
	if r.validity != "" {
		command += " (QRESYNC (" + r.validity + " " + r.modSeq + known + "))"
	}
	lines := say("c", command)
	if r.validity == "" {
		r.flags = map[int]string{}
		lines = append(lines, say("d", "UID FETCH 1:* (FLAGS)")...)
	}
	told, fetched := 0, false
	for _, line := range lines {
		if v, ok := strings.CutPrefix(line, "* OK [UIDVALIDITY "); ok {
			r.validity, _, _ = strings.Cut(v, "]")
		}
		if v, ok := strings.CutPrefix(line, "* OK [HIGHESTMODSEQ "); ok {
			r.modSeq, _, _ = strings.Cut(v, "]")
		}
		if m := vanishedLine.FindStringSubmatch(line); m != nil {
			if m[1] == "" || fetched {
				t.Fatalf("%q: in SELECT it is EARLIER, and before FETCH", line)
			}
			for _, uid := range numbersOf(t, m[2]) {
				delete(r.flags, uid)
				told++
			}
		}
		if m := fetchLine.FindStringSubmatch(line); m != nil {
			fetched = true
			uid, _ := strconv.Atoi(uidItem.FindStringSubmatch(m[2])[1])
			r.flags[uid] = sortFlags(flagsItem.FindStringSubmatch(m[2])[1])
			told++
		}
	}
	return told
}

// TestResync changes a mailbox at random, and looks whether replicas that were away come to the same as one that is new, told
// of no more than what changed.
func TestResync(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	rnd := rand.New(rand.NewPCG(3, 1))
	f.fill(t, account, "INBOX", numbered(0, 700)...) // three chunks
	w := watch(t, f, user, "SELECT INBOX")
	next := 701
	set := func() string {
		a := 1 + rnd.IntN(next)
		return fmt.Sprintf("%d:%d", a, a+rnd.IntN(4))
	}
	away := []*replica{{}, {}, {}, {}}
	for _, r := range away {
		r.sync(t, f, user, "")
	}
	for step := range 400 {
		switch op := rnd.IntN(10); {
		case op < 4:
			w.do("UID STORE " + set() + " " + []string{"+", "-", ""}[rnd.IntN(3)] + `FLAGS (\Seen \Flagged)`)
		case op < 6:
			s := set()
			w.do("UID STORE " + s + ` +FLAGS.SILENT (\Deleted)`)
			w.do("UID EXPUNGE " + s)
		case op < 7:
			w.do("UID MOVE " + set() + " Archive")
		default:
			f.fill(t, account, "INBOX", numbered(next, next+1)...)
			next++
		}
		if step%20 != 19 {
			continue
		}
		r := away[rnd.IntN(len(away))]
		known := ""
		if rnd.IntN(2) == 0 {
			known = fmt.Sprintf(" 1:%d", next+1000)
		}
		if told := r.sync(t, f, user, known); told > 2000 {
			t.Errorf("step %d: told of %d messages", step, told)
		}
		fresh := &replica{}
		fresh.sync(t, f, user, "")
		if !maps.Equal(r.flags, fresh.flags) {
			t.Fatalf("step %d: after QRESYNC\n%v\nwant\n%v", step, r.flags, fresh.flags)
		}
		if told := r.sync(t, f, user, known); told != 0 {
			t.Errorf("step %d: told of %d messages when nothing had changed", step, told)
		}
	}
}
