package index_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mailfarm/mailfarm/internal/index"
	"github.com/mailfarm/mailfarm/internal/mailbox"
)

func TestExpireFor(t *testing.T) {
	key := func(account mailbox.AccountID, domain, folder, name string) index.ExpireKey {
		return index.ExpireKey{Account: account, Domain: domain, Folder: folder, Name: name}
	}
	rules := []index.ExpireRule{
		{ExpireKey: key(0, "", `\Trash`, "configured"), Number: 1},
		{ExpireKey: key(0, "", "Logs", "configured"), Number: 2},
		{ExpireKey: key(0, "", "*", "all")},
		{ExpireKey: key(0, "", `\Junk`, "all junk")},
		{ExpireKey: key(0, "example.org", `\Trash`, "domain")},
		{ExpireKey: key(0, "example.org", "*", "domain all")},
		{ExpireKey: key(7, "", `\Trash`, "old")},
		{ExpireKey: key(7, "", "Bin", "large")},
		{ExpireKey: key(8, "", "*", "spared"), Never: true},
		{ExpireKey: key(8, "", "Logs", "own")},
	}
	for _, tt := range []struct {
		account        mailbox.AccountID
		domain, folder string
		use            string
		want           []string
	}{
		{7, "example.org", "Bin", `\Trash`, []string{"old", "large"}},
		{7, "example.org", "Bin", "", []string{"large"}},
		{7, "example.org", "INBOX", "", []string{"domain all"}},
		{9, "example.org", "Trash", `\Trash`, []string{"domain"}},
		{9, "example.net", "Trash", `\Trash`, []string{"all"}},
		{9, "example.net", "Spam", `\Junk`, []string{"all junk"}},
		{9, "", "Logs", "", []string{"all"}},
		{8, "example.org", "Trash", `\Trash`, nil},
		{8, "example.org", "Logs", "", []string{"own"}},
	} {
		var got []string
		for _, r := range index.ExpireFor(rules, tt.account, tt.domain, tt.folder, tt.use) {
			got = append(got, r.Name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", fmt.Sprint(tt.account, tt.domain, tt.folder, tt.use), got, tt.want)
		}
	}
	if got := index.ExpireFor(rules[:2], 9, "", "Logs", ""); len(got) != 1 || got[0].Number != 2 {
		t.Errorf("of the configuration: %+v", got)
	}
}
