package imap

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
)

// TestKeepAlive: idle clients hear from us every two minutes at most and not at once, and no longer when they are done.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		svc := fakeService(t, newFakeStore(fakeMessage))
		const sessions = 50
		moments := map[time.Time]bool{}
		for range sessions {
			ours, theirs := net.Pipe()
			s := newSession(svc, ours, front.Peer{Client: netip.MustParseAddr("127.0.0.1")})
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				s.Serve()
			}()
			r := bufio.NewReader(theirs)
			say := func(text, until string) {
				t.Helper()
				go fmt.Fprint(theirs, text) // a pipe holds nothing
				for line := ""; line != until; {
					var err error
					if line, err = r.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
			}
			say("1 LOGIN a b\r\n2 SELECT INBOX\r\n3 IDLE\r\n", "+ idling\r\n")
			last := time.Now()
			for range 3 {
				line, err := r.ReadString('\n')
				if err != nil || line != "* OK Still here\r\n" {
					t.Fatal(line, err)
				}
				if waited := time.Since(last); waited < 90*time.Second || waited > 2*time.Minute {
					t.Errorf("heard of it after %v", waited)
				}
				last = time.Now()
				moments[last] = true
			}
			say("DONE\r\n", "3 OK IDLE completed\r\n")
			time.Sleep(10 * time.Minute)
			say("4 NOOP\r\n", "4 OK NOOP completed\r\n")
			theirs.Close()
			<-ended
		}
		if len(moments) < 3*sessions-5 {
			t.Errorf("%d different moments of %d", len(moments), 3*sessions)
		}
	})
}
