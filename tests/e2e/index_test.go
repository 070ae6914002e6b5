package e2e

import (
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"github.com/mailfarm/mailfarm/tests/harness"
)

type indexStatus struct {
	Address                          string
	Emails, Indexed, Waiting, Octets int64
}

// TestIndex has mail indexed as it comes, dropped and made anew by the operator's verbs, and found all the while.
func TestIndex(t *testing.T) {
	f := harness.StartDev(t)
	seed(t, f, "index", alice)
	c := f.IMAPClient(alice)
	defer c.Close()
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	search := func(when string) {
		t.Helper()
		d, err := c.UIDSearch(&imap.SearchCriteria{Text: []string{"index"}}, nil).Wait()
		if err != nil || len(d.AllUIDs()) < 2 {
			t.Errorf("%s: found %v, %v", when, d, err)
		}
	}
	search("at once")
	whole := func() {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			list := fromJSON[[]indexStatus](t, f, "index", "status", alice)
			if len(list) == 1 && list[0].Emails > 1 && list[0].Indexed == list[0].Emails && list[0].Octets > 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("not indexed: %+v", list)
			}
		}
	}
	whole()
	search("indexed")
	f.CLI("index", "rebuild", "--all")
	search("dropped")
	f.CLI("index", "rebuild", alice, "--wait")
	whole()
	search("made anew")
	for _, s := range fromJSON[[]indexStatus](t, f, "index", "status") {
		if s.Waiting > 0 && s.Address == alice {
			t.Errorf("%+v", s)
		}
	}
	refused(t, f, []string{"index", "rebuild"}, "--all")
}
