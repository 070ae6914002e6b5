package imap_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	uidFetchLine  = regexp.MustCompile(`^\* (\d+) UIDFETCH \((.*)\)$`)
	searchLine    = regexp.MustCompile(`^\* (?:SEARCH|ESEARCH \(TAG "[^"]*"\)(?: UID)?(?: ALL)?)((?: [0-9:,]+)*)`)
	modSeqItem    = regexp.MustCompile(`MODSEQ \((\d+)\)`)
	highestCode   = regexp.MustCompile(`^\* OK \[HIGHESTMODSEQ (\d+)\]`)
	validityCode  = regexp.MustCompile(`^\* OK \[UIDVALIDITY (\d+)\]`)
	countersLine  = regexp.MustCompile(`^\* STATUS .* \(MESSAGES (\d+) UIDNEXT (\d+) UNSEEN (\d+) HIGHESTMODSEQ (\d+)\)$`)
	newUIDs       = regexp.MustCompile(`\[(?:COPYUID \d+ [0-9:,]+|APPENDUID \d+) ([0-9:,]+)\]`)
	recentClaimed = regexp.MustCompile(`\\Recent`)
)

// broken is a rule that a server broke; it ends a trial as a panic.
type broken string

// trial is a test in which a failure ends the history, not the test.
type trial struct{ testing.TB }

func (trial) Helper()                      {}
func (trial) Fatalf(f string, args ...any) { panic(broken(fmt.Sprintf(f, args...))) }
func (trial) Fatal(args ...any)            { panic(broken(fmt.Sprint(args...))) }

// viewer is a session of a history that believes what it is told and holds it against the rules of what it enabled.
type viewer struct {
	*watcher
	part
	user     string
	box      string // as it names the mailbox
	idle     string // the tag of an IDLE in progress
	selected int    // when it has selected, by the plot's clock
	highest  int    // HIGHESTMODSEQ of the last SELECT
	valid    int    // UIDVALIDITY
	modSeqs  map[int]int
	// Of the last command: what SEARCH found, what changed since and what vanished since a checkpoint, the lines as they came.
	found   []int
	spoken  []int // UIDs whose flags were told
	changed map[int]string
	earlier []int
	lines   []string
	mark    *checkpoint
}

// checkpoint is what a client that went away remembers.
type checkpoint struct {
	highest int
	flags   map[int]string
}

// part is the kind of session that a viewer is.
type part struct {
	name                      string
	enable                    string
	process                   int
	other                     bool // somebody with whom the mailbox is shared
	readOnly                  bool
	condstore, quiet, uidonly bool // quiet: VANISHED in place of EXPUNGE
	rev2                      bool
}

// run sends a command and believes the answer; it returns the tagged response.
func (v *viewer) run(command string) string {
	v.tag++
	tag := "t" + strconv.Itoa(v.tag)
	if _, err := fmt.Fprintf(v.c, "%s %s\r\n", tag, command); err != nil {
		v.t.Fatal(err)
	}
	verb, _, _ := strings.Cut(command, " ")
	v.numbered = verb == "FETCH" || verb == "STORE" || verb == "SEARCH"
	if verb == "SELECT" || verb == "EXAMINE" {
		v.uids, v.flags = nil, nil
	}
	return v.until(tag)
}

// until believes responses up to a tagged one.
func (v *viewer) until(tag string) string {
	v.found, v.spoken, v.changed, v.earlier, v.lines = nil, nil, map[int]string{}, nil, v.lines[:0]
	for {
		line, err := v.response()
		if err != nil {
			v.t.Fatalf("waiting for %s: %v", tag, err)
		}
		v.lines = append(v.lines, line)
		if r, ok := strings.CutPrefix(line, tag+" "); ok {
			if strings.HasPrefix(r, "BAD") {
				v.t.Fatalf("answered %q", line)
			}
			return r
		}
		v.see(line)
	}
}

// see believes one untagged response.
func (v *viewer) see(line string) {
	number := func(m []string) int {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	switch {
	case existsLine.MatchString(line):
		n := number(existsLine.FindStringSubmatch(line))
		if n < len(v.uids) {
			v.t.Fatalf("%q when there were %d", line, len(v.uids))
		}
		for len(v.uids) < n {
			v.uids, v.flags = append(v.uids, 0), append(v.flags, "?")
		}
	case expungeLine.MatchString(line):
		n := number(expungeLine.FindStringSubmatch(line))
		if v.numbered || v.quiet || n < 1 || n > len(v.uids) {
			v.t.Fatalf("%q to %s with %d messages, numbered %t", line, v.name, len(v.uids), v.numbered)
		}
		v.uids, v.flags = slices.Delete(v.uids, n-1, n), slices.Delete(v.flags, n-1, n)
	case vanishedLine.MatchString(line):
		m := vanishedLine.FindStringSubmatch(line)
		if m[1] != "" {
			v.earlier = append(v.earlier, numbersOf(v.t, m[2])...)
			return
		}
		if v.numbered || !v.quiet {
			v.t.Fatalf("%q to %s, numbered %t", line, v.name, v.numbered)
		}
		for _, uid := range numbersOf(v.t, m[2]) {
			v.vanish(uid)
			v.earlier = append(v.earlier, uid)
		}
	case fetchLine.MatchString(line):
		m := fetchLine.FindStringSubmatch(line)
		n := number(m)
		if v.uidonly || n < 1 || n > len(v.uids) {
			v.t.Fatalf("%q to %s with %d messages", line, v.name, len(v.uids))
		}
		if u := uidItem.FindStringSubmatch(m[2]); u != nil {
			if uid := number(u); v.uids[n-1] != 0 && v.uids[n-1] != uid {
				v.t.Fatalf("%q when number %d was UID %d", line, n, v.uids[n-1])
			}
			v.uids[n-1] = number(u)
		} else if strings.Contains(m[2], "MODSEQ") && v.quiet {
			v.t.Fatalf("%q without UID to a client with QRESYNC", line) // RFC 7162 §3.2.4
		}
		v.told(n-1, m[2])
	case uidFetchLine.MatchString(line):
		m := uidFetchLine.FindStringSubmatch(line)
		if !v.uidonly {
			v.t.Fatalf("%q without UIDONLY", line)
		}
		if i := slices.Index(v.uids, number(m)); i >= 0 {
			v.told(i, m[2])
		}
	case searchLine.MatchString(line):
		if set := strings.Join(strings.Fields(searchLine.FindStringSubmatch(line)[1]), ","); set != "" {
			v.found = append(v.found, numbersOf(v.t, set)...)
		}
	case highestCode.MatchString(line):
		n := number(highestCode.FindStringSubmatch(line))
		if n < v.highest {
			v.t.Fatalf("%q when it was %d", line, v.highest)
		}
		v.highest = n
	case validityCode.MatchString(line):
		v.valid = number(validityCode.FindStringSubmatch(line))
	}
}

// told believes the items of a FETCH response.
func (v *viewer) told(i int, items string) {
	f := flagsItem.FindStringSubmatch(items)
	if f == nil {
		return
	}
	before := v.flags[i]
	v.flags[i] = sortFlags(f[1])
	uid := v.uids[i]
	if uid == 0 {
		return
	}
	v.changed[uid] = v.flags[i]
	v.spoken = append(v.spoken, uid)
	if m := modSeqItem.FindStringSubmatch(items); m != nil {
		n, _ := strconv.Atoi(m[1])
		if had := v.modSeqs[uid]; n < had || n == had && before != "?" && before != v.flags[i] && had != 0 {
			v.t.Fatalf("UID %d has MODSEQ %d with (%s), had %d with (%s)", uid, n, v.flags[i], had, before)
		}
		v.modSeqs[uid] = n
	}
}
