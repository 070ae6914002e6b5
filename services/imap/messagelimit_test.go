package imap_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	imapsvc "github.com/mailfarm/mailfarm/services/imap"
)

// TestMessageLimit: commands about many messages are done in part, and say up to where; those that are done as a whole or not
// at all are refused (RFC 9738).
func TestMessageLimit(t *testing.T) {
	f := startFarm(t, func(cfg *imapsvc.Config) { cfg.MessageLimit = 12 })
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 20)...)
	c := f.talk(t, user)
	say := c.sayer(t)
	caps := capabilitiesIn(say("CAPABILITY")[0])
	if !slices.Contains(caps, "MESSAGELIMIT=12") || slices.ContainsFunc(caps, func(s string) bool { return strings.HasPrefix(s, "SAVELIMIT") }) {
		t.Errorf("capabilities: %q", caps)
	}
	say("SELECT INBOX")
	for _, tt := range []struct {
		command string
		lines   int
		want    string
		first   string
	}{
		{"FETCH 1:* UID", 13, "x OK [MESSAGELIMIT 12 9] ", ""},
		{"UID FETCH 1:15 UID", 13, "x OK [MESSAGELIMIT 12 4] ", ""},
		{"FETCH 1:12 UID", 13, "x OK FETCH", ""},
		{"UID FETCH 1:* UID (PARTIAL 1:5)", 6, "x OK UID FETCH", ""},
		{"UID FETCH 1:* UID (PARTIAL -1:-13)", 1, "x NO [MESSAGELIMIT 12] ", ""},
		{"UID FETCH 1:* UID (PARTIAL 1:12)", 13, "x OK UID FETCH", ""},
		{"STORE 1:* +FLAGS (\\Flagged)", 13, "x OK [MESSAGELIMIT 12 9] ", ""},
		// What is looked at counts, not what is found.
		{"UID SEARCH UNFLAGGED", 2, "x OK [MESSAGELIMIT 12 9] ", "* SEARCH"},
		{"UID SEARCH UID 1:12 UNFLAGGED", 2, "x OK UID SEARCH", "* SEARCH 1 2 3 4 5 6 7 8"},
		{"UID SEARCH ALL (1:15 NOT FLAGGED)", 2, "x OK [MESSAGELIMIT 12 4] ", "* SEARCH 4 5 6 7 8"},
		{"SEARCH UIDAFTER 8", 2, "x OK SEARCH", "* SEARCH 9 10 11 12 13 14 15 16 17 18 19 20"},
		{"SEARCH UIDBEFORE 3", 2, "x OK SEARCH", "* SEARCH 1 2"},
		{"SEARCH UIDBEFORE 1", 2, "x OK SEARCH", "* SEARCH"},
		{"SEARCH UIDAFTER 20", 2, "x OK SEARCH", "* SEARCH"},
		{"SEARCH UIDAFTER 4294967295", 2, "x OK SEARCH", "* SEARCH"},
		{"SEARCH UIDAFTER 2 UIDBEFORE 5", 2, "x OK SEARCH", "* SEARCH 3 4"},
		{"SEARCH NOT UIDAFTER 10 UIDAFTER 8", 2, "x OK SEARCH", "* SEARCH 9 10"},
		{"SEARCH UIDAFTER 0", 1, "x BAD", ""},
		{"SEARCH UIDAFTER *", 1, "x BAD", ""},
		{"SEARCH UIDBEFORE", 1, "x BAD", ""},
		{"UID SEARCH RETURN (SAVE) UID 1:15", 1, "x OK [MESSAGELIMIT 12 4] ", ""},
		{"UID FETCH $ UID", 13, "x OK UID FETCH", "* 4 FETCH (UID 4)"},
		{"SEARCH UIDBEFORE $", 2, "x OK SEARCH", "* SEARCH 1 2 3"},
		{"SEARCH UIDAFTER $", 2, "x OK SEARCH", "* SEARCH 16 17 18 19 20"},
		{"SEARCH RETURN (SAVE) UIDAFTER 20", 1, "x OK SEARCH", ""},
		{"SEARCH UIDAFTER $", 2, "x OK SEARCH", "* SEARCH"},
		{"UID SORT (ARRIVAL) UTF-8 ALL", 1, "x NO [MESSAGELIMIT 12] ", ""},
		{"UID SORT (ARRIVAL) UTF-8 UIDAFTER 18", 2, "x OK UID SORT", "* SORT 19 20"},
		{"THREAD REFERENCES UTF-8 ALL", 1, "x NO [MESSAGELIMIT 12] ", ""},
		{"THREAD REFERENCES UTF-8 UIDAFTER 19", 2, "x OK THREAD", "* THREAD (20)"},
		{"COPY 1:12 Archive", 1, "x OK [COPYUID ", ""},
		{"COPY 1:13 Archive", 1, "x NO [MESSAGELIMIT 12] ", ""},
		{"APPEND INBOX" + strings.Repeat(" {1+}\r\nx", 13), 1, "x NO [MESSAGELIMIT 12] ", ""},
		{"STATUS INBOX (MESSAGES)", 2, "x OK", "* STATUS INBOX (MESSAGES 20)"},
		{"STATUS Archive (MESSAGES)", 2, "x OK", "* STATUS Archive (MESSAGES 12)"},
		// \Deleted ones count.
		{"UID STORE 1:2,19 +FLAGS.SILENT (\\Deleted)", 1, "x OK UID STORE", ""},
		{"UID EXPUNGE 1:18", 3, "x OK UID EXPUNGE", "* 2 EXPUNGE"},
		{"UID STORE 9:* +FLAGS.SILENT (\\Deleted)", 1, "x OK UID STORE", ""},
		{"UID STORE 3:8 +FLAGS.SILENT (\\Deleted)", 1, "x OK UID STORE", ""},
		{"UID EXPUNGE 1:*", 13, "x OK [MESSAGELIMIT 12 9] ", ""},
		{"EXPUNGE", 7, "x OK", ""},
		// MOVE is done in part, and the code comes untagged where the answer has another.
		{"SELECT Archive", 0, "x OK", ""},
		{"MOVE 1:* INBOX", 14, "x OK MOVE", ""},
	} {
		lines := say(tt.command)
		if tt.lines > 0 && len(lines) != tt.lines || !strings.HasPrefix(lines[len(lines)-1], tt.want) || tt.first != "" && lines[0] != tt.first {
			t.Errorf("%.60s: %d lines, %q to %q; want %d, %q to %q", tt.command, len(lines), lines[0], lines[len(lines)-1], tt.lines, tt.first, tt.want)
		}
	}
	f.fill(t, account, "INBOX", numbered(0, 8)...)
	say("SELECT INBOX (CONDSTORE)")
	for _, tt := range []struct{ command, want string }{
		{"UID STORE 1:* (UNCHANGEDSINCE 1) +FLAGS (\\Deleted)", "x OK [MODIFIED "},
		{"MOVE 1:* Archive", "x OK [HIGHESTMODSEQ "},
	} {
		lines := say(tt.command)
		if n := len(lines); !strings.HasPrefix(lines[n-1], tt.want) || !strings.HasPrefix(lines[n-2], "* NO [MESSAGELIMIT 12 ") {
			t.Errorf("%s: %q", tt.command, lines)
		}
	}
}

// TestLimitedDialogue runs testdata/limited/messagelimit.dialogue against a farm with a small limit.
func TestLimitedDialogue(t *testing.T) {
	f := startFarm(t, func(cfg *imapsvc.Config) { cfg.MessageLimit = 10 })
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 12)...)
	f.speak(t, "testdata/limited/messagelimit.dialogue", user)
}

// TestSaveLimit: COPY and APPEND alone are limited; of two limits the lower one is told of and holds for all.
func TestSaveLimit(t *testing.T) {
	for _, tt := range []struct {
		message, save                  int
		capability, fetch, copy, moved string
	}{
		{0, 10, "SAVELIMIT=10", "x OK FETCH", "x NO [MESSAGELIMIT 10] ", "x OK MOVE"},
		{12, 10, "MESSAGELIMIT=10", "x OK [MESSAGELIMIT 10 11] ", "x NO [MESSAGELIMIT 10] ", "x OK [MESSAGELIMIT 10 11] "},
	} {
		f := startFarm(t, func(cfg *imapsvc.Config) { cfg.MessageLimit, cfg.SaveLimit = tt.message, tt.save })
		user, account := f.account(t)
		f.fill(t, account, "INBOX", numbered(0, 20)...)
		say := f.talk(t, user).sayer(t)
		var told []string
		for _, c := range capabilitiesIn(say("CAPABILITY")[0]) {
			if strings.Contains(c, "ELIMIT=") {
				told = append(told, c)
			}
		}
		if len(told) != 1 || told[0] != tt.capability {
			t.Errorf("limits %d and %d are told as %q", tt.message, tt.save, told)
		}
		say("SELECT INBOX")
		for _, c := range []struct{ command, want string }{
			{"FETCH 1:* UID", tt.fetch}, {"COPY 1:11 Archive", tt.copy}, {"APPEND INBOX" + strings.Repeat(" {1+}\r\nx", 11), tt.copy}, {"MOVE 1:* Archive", tt.moved},
		} {
			if lines := say(c.command); !strings.HasPrefix(lines[len(lines)-1], c.want) {
				t.Errorf("limits %d and %d: %.20s: %q, want %q", tt.message, tt.save, c.command, lines[len(lines)-1], c.want)
			}
		}
	}
}

// sayer sends commands and gives the lines of their answers.
func (c *lineConn) sayer(t *testing.T) func(command string) []string {
	return func(command string) (lines []string) {
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
}
