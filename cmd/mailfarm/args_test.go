package main

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// TestErrorsSayWhatToDo: a command line that cannot be meant says so before anything is asked, and how it is written.
func TestErrorsSayWhatToDo(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "ca")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"run"}, "mailfarm run all|ROLE..."},
		{[]string{"ban", "add"}, "mailfarm ban add ADDRESS|NETWORK"},
		{[]string{"drain", "imap"}, "mailfarm drain --help"},
		{[]string{"health", "--json"}, "mailfarm health --help"},
		{[]string{"ca", "issue", "store", "--dir", nowhere}, "mailfarm ca init"},
		{[]string{"trace", "--client", "mail.example.org"}, "IP address"},
		{[]string{"trace", "--since", "1h", "--until", "2h"}, "--until"},
		{[]string{"quota", "set", "--size", "1G"}, "--domain"},
		{[]string{"quota", "set", "a@example.org", "--domain", "example.org"}, "--domain"},
		{[]string{"quota", "set", "--domain", "example.org", "--folder", "INBOX"}, "--folder"},
		{[]string{"quota", "set", "a@example.org", "--account-size", "1G"}, "--size"},
		{[]string{"expire", "set", "all"}, "folder"},
		{[]string{"expire", "set", "all", "--folder", "*", "--older-than", "old"}, "30d"},
		{[]string{"expire", "set", "all", "--folder", "*", "--received", "--keep", "1"}, "--older-than"},
		{[]string{"expire", "set", "all", "--folder", "*", "--larger-than", "none"}, "--larger-than"},
		{[]string{"audit", "--since", "2026-02-01", "--until", "2026-01-01"}, "nothing lies between"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			root := newRoot()
			root.SetArgs(tt.args)
			root.SetOut(io.Discard)
			if err := root.ExecuteContext(context.Background()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
