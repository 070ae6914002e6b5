package imap_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestUIDBatches takes a mailbox with gaps apart and looks whether each range has as many messages as were asked for.
func TestUIDBatches(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	f.fill(t, account, "INBOX", numbered(0, 1800)...)
	w := watch(t, f, user, "SELECT INBOX", `UID STORE 3:300,700:705,1799 +FLAGS.SILENT (\Deleted)`, "EXPUNGE")
	say := func(command string) string {
		t.Helper()
		w.do(command)
		for _, line := range w.c.seen {
			if _, ranges, ok := strings.Cut(line, `* UIDBATCHES (TAG "t`); ok {
				_, ranges, _ = strings.Cut(ranges, `")`)
				w.c.seen = nil
				return strings.TrimPrefix(ranges, " ")
			}
		}
		t.Fatalf("%s: no answer in %q", command, w.c.seen)
		return ""
	}
	all := say("UIDBATCHES 600")
	ranges := strings.Split(all, ",")
	if len(ranges) != 3 {
		t.Fatalf("got %q, want three ranges of 1495 messages", all)
	}
	above := 1801
	for i, r := range ranges {
		var high, low int
		if _, err := fmt.Sscanf(r, "%d:%d", &high, &low); err != nil || high != above-1 {
			t.Fatalf("range %q of %q does not join", r, all)
		}
		n := 0
		for uid := low; uid <= high; uid++ {
			if !(uid >= 3 && uid <= 300 || uid >= 700 && uid <= 705 || uid == 1799) {
				n++
			}
		}
		if want := []int{600, 600, 295}[i]; n != want {
			t.Errorf("range %q has %d messages, want %d", r, n, want)
		}
		above = low
	}
	if above != 1 {
		t.Errorf("%q does not go down to 1", all)
	}
	if got := say("UIDBATCHES 600 2:3"); got != ranges[1]+","+ranges[2] {
		t.Errorf("batches 2:3 of %q are %q", all, got)
	}
	if got := say("UIDBATCHES 600 4:9"); got != "" {
		t.Errorf("batches that are not there are %q", got)
	}
}
