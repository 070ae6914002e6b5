package imap

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mailfarm/mailfarm/internal/front"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	mailv1 "github.com/mailfarm/mailfarm/proto/mailfarm/mail/v1"
)

// TestFollowCost: a notice costs a look at the mailboxes it names, not at all; what cannot be looked at ends the watch.
func TestFollowCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(fakeMessage)
		calls := map[string]int{}
		var broken string
		store.fail = func(call string) error {
			calls[call]++
			if call == broken {
				return status.Error(codes.Unavailable, "away")
			}
			return nil
		}
		svc := fakeService(t, store)
		ours, theirs := net.Pipe()
		s := newSession(svc, ours, front.Peer{Client: netip.MustParseAddr("127.0.0.1")})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.Serve()
		}()
		r := bufio.NewReader(theirs)
		until := func(prefix string) {
			t.Helper()
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(line, prefix) {
					return
				}
			}
		}
		go fmt.Fprint(theirs, "1 LOGIN a b\r\n2 NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))\r\n")
		until("2 OK")
		synctest.Wait()
		archive := store.named("Archive")
		tell := func(ids ...uint64) {
			svc.hub.changed(s.account, &mailv1.MailboxChanged{Account: uint64(s.account), Mailboxes: ids})
		}
		file := func() {
			store.mu.Lock()
			defer store.mu.Unlock()
			store.file(archive, store.email([]byte(fakeMessage)), mailbox.Seen)
		}
		listed := calls["List"]
		for range 3 {
			file()
			tell(archive.meta.Id)
			until("* STATUS Archive (MESSAGES ")
		}
		tell(archive.meta.Id) // nothing new
		synctest.Wait()
		if calls["List"] != listed || calls["Find"] != 4 {
			t.Errorf("%d lists and %d finds for four notices", calls["List"]-listed, calls["Find"])
		}
		file()
		tell() // of the list: everything is looked at
		until("* STATUS Archive (MESSAGES ")
		if calls["List"] != listed+1 {
			t.Errorf("%d lists for one notice", calls["List"]-listed)
		}
		broken = "Find"
		tell(archive.meta.Id)
		until("* OK [NOTIFICATIONOVERFLOW] ")
		broken = ""
		synctest.Wait()
		found := calls["Find"]
		file()
		tell(archive.meta.Id)
		go fmt.Fprint(theirs, "3 NOOP\r\n")
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "3 OK") || calls["Find"] != found {
			t.Errorf("after the end of the watch: %q, %v, %d finds", line, err, calls["Find"]-found)
		}
		theirs.Close()
		<-ended
		svc.pushes.Wait()
		if len(svc.hub.accounts) != 0 {
			t.Error("somebody is watched still")
		}
	})
}
