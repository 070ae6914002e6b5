package imap_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// answers gives a command, and tells its untagged lines and how it ended.
func (w *watcher) answers(command string) (lines []string, end string) {
	w.t.Helper()
	fmt.Fprintf(w.c, "q %s\r\n", command)
	for {
		line, err := w.c.readLine()
		if err != nil {
			w.t.Fatalf("%s: %v", command, err)
		}
		if rest, ok := strings.CutPrefix(line, "q "); ok {
			return lines, rest
		}
		lines = append(lines, line)
	}
}

// TestOwnBehindPrefix: own folders that are called like a namespace of others are shown beside it, can be used and moved out,
// and no new ones are made.
func TestOwnBehindPrefix(t *testing.T) {
	f := startFarm(t, nil)
	user, account := f.account(t)
	for _, name := range []string{"Shared", "Shared/Old", "Shared_", "Other Users/x/y", "Sharedness"} {
		_, err := f.mailboxes.Create(t.Context(), &storev1.CreateRequest{Account: account, Name: name})
		check(t, err)
	}
	w := watch(t, f, user, "SUBSCRIBE Shared_/Old", `SUBSCRIBE "Other Users/bob@example.org/Team"`)
	names := func(command string) (list []string) {
		t.Helper()
		lines, end := w.answers(command)
		for _, l := range lines {
			_, name, _ := strings.Cut(l, `"/" `)
			list = append(list, strings.Trim(name, `"`))
		}
		if !strings.HasPrefix(end, "OK") {
			t.Errorf("%s: %s", command, end)
		}
		slices.Sort(list)
		return list
	}
	for command, want := range map[string][]string{
		`LIST "" "Shared*"`: {"Shared_", "Shared_/Old", "Shared__", "Sharedness"},
		`LIST "" "Other*"`:  {"Other Users_", "Other Users_/x", "Other Users_/x/y"},
		`LIST "" "Other%"`:  {"Other Users_"},
		`LSUB "" "*"`:       {"Other Users/bob@example.org/Team", "Shared_/Old"},
	} {
		got := slices.DeleteFunc(names(command), func(n string) bool { return command[:4] == "LSUB" && !strings.ContainsAny(n, "_@") })
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", command, got, want)
		}
	}
	for _, tt := range []struct{ command, want string }{
		{"CREATE Shared", "NO [CANNOT]"},
		{"CREATE Shared/Mine", "NO [CANNOT]"},
		{"CREATE Shared_/Mine", "NO [CANNOT]"},
		{"CREATE Shared___", "NO [CANNOT]"},
		{`CREATE "Other Users"`, "NO [CANNOT]"},
		{"CREATE Shared/nobody@example.org/Mine", "NO [NONEXISTENT]"},
		{"CREATE Sharing", "OK"},
		{"RENAME Sharing Shared/Sharing", "NO [CANNOT]"},
		{"SELECT Shared", "NO [NONEXISTENT]"},
		{"SELECT Shared_/Old", "OK"},
		{"STATUS Shared__ (MESSAGES)", "OK"},
		{"RENAME Shared_ Mine", "OK"},
		{"SELECT Mine/Old", "OK"},
		{"DELETE Shared__", "OK"},
	} {
		if _, end := w.answers(tt.command); !strings.HasPrefix(end, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.command, end, tt.want)
		}
	}
	if got := names(`LIST "" "Shared*"`); !slices.Equal(got, []string{"Sharedness"}) {
		t.Errorf("moved out: %q", got)
	}
}
