package imap_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	imapsvc "github.com/mailfarm/mailfarm/services/imap"
)

// TestMessageLimit: commands about many messages are done in part, and say up to where; those that file do nothing (RFC 9738).
func TestMessageLimit(t *testing.T) {
	f := startFarm(t, func(cfg *imapsvc.Config) { cfg.MessageLimit, cfg.SaveLimit = 12, 10 })
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 20)...)
	c := f.talk(t, user)
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
	caps := capabilitiesIn(say("CAPABILITY")[0])
	if !slices.Contains(caps, "MESSAGELIMIT=12") || !slices.Contains(caps, "SAVELIMIT=10") {
		t.Errorf("capabilities: %q", caps)
	}
	say("SELECT INBOX")
	for _, tt := range []struct {
		command string
		lines   int
		want    string
	}{
		{"FETCH 1:* UID", 13, "x OK [MESSAGELIMIT 12 9] "},
		{"UID FETCH 1:15 UID", 13, "x OK [MESSAGELIMIT 12 4] "},
		{"FETCH 1:12 UID", 13, "x OK FETCH"},
		{"UID FETCH 1:* UID (PARTIAL 1:5)", 6, "x OK UID FETCH"},
		{"STORE 1:* +FLAGS (\\Flagged)", 13, "x OK [MESSAGELIMIT 12 9] "},
		{"UID SEARCH FLAGGED", 2, "x OK UID SEARCH"},
		{"UID SEARCH ALL", 2, "x OK [MESSAGELIMIT 12 9] "},
		{"UID SORT (ARRIVAL) UTF-8 ALL", 2, "x OK [MESSAGELIMIT 12 9] "},
		{"COPY 1:10 Archive", 1, "x OK [COPYUID "},
		{"COPY 1:11 Archive", 1, "x NO [MESSAGELIMIT 10] "},
		{"MOVE 1:11 Archive", 1, "x NO [MESSAGELIMIT 10] "},
		{"APPEND INBOX" + strings.Repeat(" {1+}\r\nx", 11), 1, "x NO [MESSAGELIMIT 10] "},
		{"STATUS INBOX (MESSAGES)", 2, "x OK"},
		{"STATUS Archive (MESSAGES)", 2, "x OK"},
		{"UID STORE 9:* +FLAGS.SILENT (\\Deleted)", 1, "x OK UID STORE"},
		{"UID STORE 1:8 +FLAGS.SILENT (\\Deleted)", 1, "x OK UID STORE"},
		{"UID EXPUNGE 1:*", 13, "x OK [MESSAGELIMIT 12 9] "},
		{"EXPUNGE", 9, "x OK"},
	} {
		lines := say(tt.command)
		if len(lines) != tt.lines || !strings.HasPrefix(lines[len(lines)-1], tt.want) {
			t.Errorf("%.40s: %d lines, %q; want %d, %q", tt.command, len(lines), lines[len(lines)-1], tt.lines, tt.want)
		}
		if strings.HasPrefix(tt.command, "STATUS INBOX") && lines[0] != "* STATUS INBOX (MESSAGES 20)" || strings.HasPrefix(tt.command, "STATUS A") && lines[0] != "* STATUS Archive (MESSAGES 10)" {
			t.Errorf("%s: %q", tt.command, lines[0])
		}
	}
}
