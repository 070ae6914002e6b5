package imap

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
)

// fromLoopback is a connection that says so.
type fromLoopback struct{ net.Conn }

func (fromLoopback) RemoteAddr() net.Addr { return (&memConn{}).RemoteAddr() }

// TestCutSaysBye: a client that stalls within a literal is told BYE when its session is cut; one that does not read is closed.
func TestCutSaysBye(t *testing.T) {
	for _, row := range []struct {
		name, sends, last string
		reads             bool
		most              time.Duration
	}{
		{"APPEND", "3 APPEND INBOX {100}\r\nhalf", "+ go ahead", true, 0},
		{"APPEND without asking", "3 APPEND INBOX {100+}\r\nhalf", "2 OK ", true, 0},
		{"half a line", "3 NO", "2 OK ", true, 0},
		{"IDLE", "3 IDLE\r\n", "+ idling", true, 0},
		{"does not read", "3 NOOP\r\n", "2 OK ", false, lastWords},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				svc := fakeService(t, newFakeStore(fakeMessage))
				ours, theirs := net.Pipe()
				defer ours.Close()
				nc := fromLoopback{theirs}
				s := newSession(svc, nc, front.Peer{Client: front.ClientOf(nc)})
				ended := make(chan struct{})
				go func() { s.Serve(); close(ended) }()
				said := ""
				read := func(until string) {
					buf := make([]byte, 4096)
					for !strings.Contains(said, until) {
						n, err := ours.Read(buf)
						if said += string(buf[:n]); err != nil {
							return
						}
					}
				}
				read("* OK ")
				ours.Write([]byte(prelude))
				read("\r\n2 OK ")
				ours.Write([]byte(row.sends))
				read(row.last)
				synctest.Wait()
				begun := time.Now()
				s.Cut()
				s.Cut()
				if row.reads {
					read("never said")
					if !strings.HasSuffix(said, "\r\n* BYE server shutting down\r\n") {
						t.Errorf("got %q, want BYE at the end", said)
					}
				}
				<-ended
				if took := time.Since(begun); took > row.most {
					t.Errorf("ended after %v, want %v at most", took, row.most)
				}
			})
		})
	}
}
