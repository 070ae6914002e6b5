package imap_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// watcher is a client that believes what it is told: it keeps sequence numbers, UIDs and flags as the responses say.
type watcher struct {
	t    testing.TB
	c    *lineConn
	tag  int
	uids []int // by sequence number less 1; 0: not known yet
	// flags by sequence number less 1, sorted; "?" is not known.
	flags []string
	// numbered tells that a command is under way during which EXPUNGE may not come.
	numbered bool
}

func watch(t testing.TB, f *farm, user string, commands ...string) *watcher {
	return watchAt(t, f.addr, user, commands...)
}

// watchAt is watch at one of several processes.
func watchAt(t testing.TB, addr, user string, commands ...string) *watcher {
	w := &watcher{t: t, c: dial(t, addr, false)}
	if _, err := w.c.readLine(); err != nil {
		t.Fatal(err)
	}
	w.do("LOGIN " + user + " " + quote(password))
	for _, c := range commands {
		w.do(c)
	}
	return w
}

var (
	existsLine  = regexp.MustCompile(`^\* (\d+) EXISTS$`)
	expungeLine = regexp.MustCompile(`^\* (\d+) EXPUNGE$`)
	fetchLine   = regexp.MustCompile(`^\* (\d+) FETCH \((.*)\)$`)
	uidItem     = regexp.MustCompile(`UID (\d+)`)
	flagsItem   = regexp.MustCompile(`FLAGS \(([^)]*)\)`)
)

func (w *watcher) do(command string) {
	w.t.Helper()
	if r := w.try(command); !strings.HasPrefix(r, "OK") {
		w.t.Fatalf("%s: %s", command, r)
	}
}

// try runs a command and returns its tagged response.
func (w *watcher) try(command string) string {
	w.t.Helper()
	w.tag++
	tag := "t" + strconv.Itoa(w.tag)
	if _, err := fmt.Fprintf(w.c, "%s %s\r\n", tag, command); err != nil {
		w.t.Fatal(err)
	}
	verb, _, _ := strings.Cut(command, " ")
	w.numbered = verb == "FETCH" || verb == "STORE" || verb == "SEARCH"
	if verb == "SELECT" {
		w.uids, w.flags = nil, nil
	}
	for {
		line, err := w.response()
		if err != nil {
			w.t.Fatalf("%s: %v", command, err)
		}
		if r, ok := strings.CutPrefix(line, tag+" "); ok {
			return r
		}
		w.take(line)
	}
}

var announced = regexp.MustCompile(`~?\{(\d+)\}$`)

// response reads a response with its literals, which are put in quotes.
func (w *watcher) response() (string, error) {
	line, err := w.c.readLine()
	for err == nil {
		m := announced.FindStringSubmatch(line)
		if m == nil {
			break
		}
		n, _ := strconv.Atoi(m[1])
		lit := make([]byte, n)
		if _, err = io.ReadFull(w.c.r, lit); err != nil {
			break
		}
		var rest string
		rest, err = w.c.readLine()
		line = strings.TrimSuffix(line, m[0]) + strconv.Quote(string(lit)) + rest
	}
	return line, err
}

// take believes one untagged response.
func (w *watcher) take(line string) {
	w.t.Helper()
	if m := existsLine.FindStringSubmatch(line); m != nil {
		n, _ := strconv.Atoi(m[1])
		if n < len(w.uids) {
			w.t.Fatalf("%q when there were %d", line, len(w.uids))
		}
		for len(w.uids) < n {
			w.uids, w.flags = append(w.uids, 0), append(w.flags, "?")
		}
	}
	if m := expungeLine.FindStringSubmatch(line); m != nil {
		n, _ := strconv.Atoi(m[1])
		if w.numbered {
			w.t.Fatalf("%q during a command with sequence numbers", line)
		}
		if n < 1 || n > len(w.uids) {
			w.t.Fatalf("%q when there were %d", line, len(w.uids))
		}
		w.uids, w.flags = slices.Delete(w.uids, n-1, n), slices.Delete(w.flags, n-1, n)
	}
	if m := vanishedLine.FindStringSubmatch(line); m != nil {
		if w.numbered {
			w.t.Fatalf("%q during a command with sequence numbers", line)
		}
		for _, uid := range numbersOf(w.t, m[2]) {
			w.vanish(uid)
		}
	}
	if m := fetchLine.FindStringSubmatch(line); m != nil {
		n, _ := strconv.Atoi(m[1])
		if n < 1 || n > len(w.uids) {
			w.t.Fatalf("%q when there were %d", line, len(w.uids))
		}
		if u := uidItem.FindStringSubmatch(m[2]); u != nil {
			uid, _ := strconv.Atoi(u[1])
			if have := w.uids[n-1]; have != 0 && have != uid {
				w.t.Fatalf("%q when number %d was UID %d", line, n, have)
			}
			w.uids[n-1] = uid
		}
		if f := flagsItem.FindStringSubmatch(m[2]); f != nil {
			w.flags[n-1] = sortFlags(f[1])
		}
	}
}

// vanish takes a message out that is known by its UID, or must be one of those between its neighbours.
func (w *watcher) vanish(uid int) {
	w.t.Helper()
	i := slices.IndexFunc(w.uids, func(u int) bool { return u >= uid })
	if i < 0 {
		i = len(w.uids)
	}
	if i == len(w.uids) || w.uids[i] != uid {
		if i--; i < 0 || w.uids[i] != 0 {
			w.t.Fatalf("VANISHED of UID %d, which there is not: %s", uid, w.state())
		}
	}
	w.uids, w.flags = slices.Delete(w.uids, i, i+1), slices.Delete(w.flags, i, i+1)
}

// sortFlags leaves \Recent out, which differs between sessions.
func sortFlags(s string) string {
	fields := strings.Fields(s)
	fields = slices.DeleteFunc(fields, func(f string) bool { return f == `\Recent` })
	slices.Sort(fields)
	return strings.Join(fields, " ")
}

func (w *watcher) state() string {
	var b strings.Builder
	for i := range w.uids {
		fmt.Fprintf(&b, "%d:%d(%s) ", i+1, w.uids[i], w.flags[i])
	}
	return b.String()
}

// TestHistory runs random commands of several sessions, some with CONDSTORE, some with IMAP4rev2, in one mailbox, and looks
// from time to time whether what each was told is what a fresh SELECT sees.
func TestHistory(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		t.Run(strconv.Itoa(round), func(t *testing.T) { history(t, uint64(round)) })
	}
}

func history(t *testing.T, seed uint64) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	rnd := rand.New(rand.NewPCG(seed, 7))
	f.fill(t, account, "INBOX", numbered(0, 400)...)
	setup := [][]string{{}, {"ENABLE CONDSTORE"}, {"ENABLE IMAP4rev2"}, {"ENABLE CONDSTORE IMAP4rev2"}, {"ENABLE QRESYNC"}}
	var all []*watcher
	for _, enable := range setup {
		w := watch(t, f, user, append(enable, "SELECT INBOX")...)
		if rnd.IntN(2) == 0 {
			w.do("FETCH 1:* (UID FLAGS)")
		}
		all = append(all, w)
	}
	flags := []string{`\Seen`, `\Deleted`, `\Flagged`, `\Draft`, `$One`, `Two`}
	next := 400
	for step := range 250 {
		w := all[rnd.IntN(len(all))]
		set := func(uid bool) string {
			limit := len(w.uids)
			if uid {
				limit = next
			}
			if limit == 0 {
				return ""
			}
			a := 1 + rnd.IntN(limit)
			return fmt.Sprintf("%d:%d", a, min(limit, a+rnd.IntN(5)))
		}
		uid := rnd.IntN(2) == 0
		prefix := ""
		if uid {
			prefix = "UID "
		}
		s := set(uid)
		switch op := rnd.IntN(20); {
		case op < 7 && s != "":
			mode := []string{"+FLAGS", "-FLAGS", "FLAGS"}[rnd.IntN(3)]
			if rnd.IntN(4) == 0 {
				mode += ".SILENT"
			}
			fl := flags[rnd.IntN(len(flags))]
			if strings.HasSuffix(mode, ".SILENT") {
				w.believe(mode, fl, s, uid)
			}
			w.do(fmt.Sprintf("%sSTORE %s %s (%s)", prefix, s, mode, fl))
		case op < 9 && s != "":
			w.do(fmt.Sprintf("%sFETCH %s (UID FLAGS)", prefix, s))
		case op < 10 && s != "":
			w.try(fmt.Sprintf("%sFETCH %s (UID BODY[HEADER.FIELDS (Subject)]<0.0%d>)", prefix, s, 1+rnd.IntN(9)))
		case op < 11:
			w.do("EXPUNGE")
		case op < 12 && s != "":
			w.try(fmt.Sprintf("UID EXPUNGE %s", set(true)))
		case op < 13 && s != "":
			w.try(fmt.Sprintf("%sCOPY %s INBOX", prefix, s))
		case op < 14 && s != "":
			w.try(fmt.Sprintf("%sMOVE %s Archive", prefix, s))
		case op < 16:
			n := 1 + rnd.IntN(3)
			f.fill(t, account, "INBOX", numbered(next, next+n)...)
			next += n
		case op < 17:
			w.do("SEARCH FLAGGED")
		case op < 18 && rnd.IntN(4) == 0:
			w.do("SELECT INBOX")
		default:
			w.do("NOOP")
		}
		if step%25 == 24 {
			compare(t, f, user, all, step)
		}
	}
}

// believe does what a STORE with .SILENT did, of which nothing is told.
func (w *watcher) believe(mode, flag, set string, uid bool) {
	first, last, _ := strings.Cut(set, ":")
	a, _ := strconv.Atoi(first)
	b, _ := strconv.Atoi(last)
	for i := range w.uids {
		n := i + 1
		if uid {
			if n = w.uids[i]; n == 0 {
				w.flags[i] = "?"
				continue
			}
		}
		if n < a || n > b {
			continue
		}
		have := strings.Fields(w.flags[i])
		if mode == "FLAGS.SILENT" {
			w.flags[i] = flag
			continue
		}
		if w.flags[i] == "?" {
			continue
		}
		have = slices.DeleteFunc(have, func(f string) bool { return f == flag })
		if mode == "+FLAGS.SILENT" {
			have = append(have, flag)
		}
		slices.Sort(have)
		w.flags[i] = strings.Join(have, " ")
	}
}

// compare brings all sessions up to date and looks whether they agree with a fresh one.
func compare(t *testing.T, f *farm, user string, all []*watcher, step int) {
	t.Helper()
	fresh := watch(t, f, user, "EXAMINE INBOX")
	if len(fresh.uids) > 0 {
		fresh.do("FETCH 1:* (UID FLAGS)")
	}
	want := fresh.state()
	for i, w := range all {
		w.do("NOOP")
		if len(w.uids) != len(fresh.uids) {
			t.Fatalf("step %d, session %d: %d messages, want %d\ngot  %s\nwant %s", step, i, len(w.uids), len(fresh.uids), w.state(), want)
		}
		for k := range w.uids {
			// What was never told is no fault.
			if w.uids[k] == 0 {
				w.uids[k] = fresh.uids[k]
			}
			if w.flags[k] == "?" {
				w.flags[k] = fresh.flags[k]
			}
		}
		if got := w.state(); got != want {
			t.Fatalf("step %d, session %d was told\n%s\nwant\n%s", step, i, got, want)
		}
		// And what it fetches now is the same.
		if len(w.uids) > 0 {
			w.do("FETCH 1:* (UID FLAGS)")
		}
		if got := w.state(); got != want {
			t.Fatalf("step %d, session %d fetches\n%s\nwant\n%s", step, i, got, want)
		}
	}
	fresh.c.Close()
}
