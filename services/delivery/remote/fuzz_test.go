package remote

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// FuzzPeer lets a peer say anything, as fast as it can and whatever we say. The attempt ends in its time, without panic, and
// with an outcome whose words are fit to be shown.
func FuzzPeer(f *testing.F) {
	for _, said := range []string{
		"220 hi\r\n250 hi\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 queued\r\n",
		"220-a\r\n220 b\r\n250-hi\r\n250-SIZE 10\r\n250 SMTPUTF8\r\n",
		"220 hi\r\n250-hi\r\n250 STARTTLS\r\n220 go\r\n\x16\x03\x01\x00\x01",
		"220 hi\r\n502\r\n250 old\r\n550-5.1.1 no\r\n550 5.1.1 \x00\x1b[2Jwho\xff\r\n",
		"220\r\n250\r\n421\r\n", "554 5.3.2 no\r\n", "250 ok\n250 ok\n", "999 x\r\n", "220 ok\r\n250-hi\r\n250 LIMITS RCPTMAX=99999999999999999\r\n250",
	} {
		f.Add([]byte(said))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		synctest.Test(t, func(t *testing.T) {
			b := newBubble(t, Config{Timeouts: Timeouts{Command: time.Minute, Final: time.Minute, Data: time.Minute}})
			b.net.at("192.0.2.1", func(c net.Conn) {
				go io.Copy(io.Discard, c)
				c.Write(said)
				time.Sleep(time.Hour)
			})
			took, o := b.send()
			if took > 10*time.Minute || o == nil || o.State == storev1.State_STATE_UNSPECIFIED {
				t.Fatalf("after %v: %v", took, o)
			}
			if !fit(o.Reply) || !fit(o.Relay) || len(o.Reply) > 1024 || len(o.Reply) < 9 {
				t.Errorf("reply %q, relay %q", o.Reply, o.Relay)
			}
			time.Sleep(time.Hour)
			b.net.wg.Wait()
		})
	})
}

func fit(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return false
		}
	}
	return utf8.ValidString(s)
}
