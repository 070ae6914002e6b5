package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// guesserAddr is where the guesser of TestGuesserIsBanned connects from.
const guesserAddr = "127.0.0.5"

// from connects from an address of this machine.
func from(t *testing.T, local, to string, cfg *tls.Config) (net.Conn, error) {
	t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}, Timeout: harness.Limit}
	var c net.Conn
	var err error
	if cfg == nil {
		c, err = d.Dial("tcp", to)
	} else {
		c, err = tls.DialWithDialer(d, "tcp", to, cfg)
	}
	if err == nil {
		c.SetDeadline(time.Now().Add(harness.Limit))
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// greeting is what a front says first to a client without TLS.
func greeting(t *testing.T, local, to string) string {
	t.Helper()
	c, err := from(t, local, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatalf("%s says %q, %v", to, line, err)
	}
	return line
}

// TestGuesserIsBanned: logins that fail at three fronts in turn ban their client at all four, until an operator lets it in.
func TestGuesserIsBanned(t *testing.T) {
	f := harness.Dev(t, "--config", harness.ConfigFile(t, "limits:\n  trusted: []\n"))
	f.Start()
	plain := func(user string) string {
		return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00guess"))
	}
	fronts := []struct {
		tls, clear, welcome, banned string
		lines                       func(user string) []string
		failed                      string // begins the last reply
	}{
		{f.IMAPS(), f.IMAP(), "* OK", "* BYE", func(user string) []string { return []string{"a LOGIN " + user + " guess"} }, "a NO"},
		{f.POP3S(), f.POP3(), "+OK", "-ERR", func(user string) []string { return []string{"USER " + user, "PASS guess"} }, "-ERR"},
		{f.SubmissionS(), f.Submission(), "220", "421 4.7.0", func(user string) []string { return []string{"HELO x", "EHLO x", "AUTH PLAIN " + plain(user)} }, "535"},
	}
	guess := func(i int) (heard bool) {
		front := fronts[i%len(fronts)]
		c, err := from(t, guesserAddr, front.tls, f.TLS())
		if err != nil {
			return false
		}
		defer c.Close()
		in := bufio.NewScanner(c)
		if !in.Scan() {
			return false
		}
		for _, line := range front.lines(fmt.Sprintf("user%d@example.org", i)) {
			fmt.Fprintf(c, "%s\r\n", line)
			for in.Scan() && (strings.HasPrefix(in.Text(), "250-") || strings.HasPrefix(in.Text(), "* ")) {
			}
		}
		if !strings.HasPrefix(in.Text(), front.failed) {
			t.Fatalf("guess %d at %s: %q, %v", i, front.tls, in.Text(), in.Err())
		}
		return true
	}
	heard := 0
	for i := range 30 {
		if guess(i) {
			heard++
		}
	}
	if heard != 20 {
		t.Errorf("%d of 30 guesses were heard, want 20", heard)
	}
	clear := []struct{ addr, welcome, banned string }{{f.SMTP(), "220", "421 4.7.0"}}
	for _, front := range fronts {
		clear = append(clear, struct{ addr, welcome, banned string }{front.clear, front.welcome, front.banned})
	}
	for _, front := range clear {
		if got := greeting(t, guesserAddr, front.addr); !strings.HasPrefix(got, front.banned) {
			t.Errorf("the guesser hears %q at %s, want %q", got, front.addr, front.banned)
		}
		if got := greeting(t, "127.0.0.1", front.addr); !strings.HasPrefix(got, front.welcome) {
			t.Errorf("another client hears %q at %s, want %q", got, front.addr, front.welcome)
		}
	}

	type ban struct {
		Network string
		Strikes int
		Reason  string
	}
	if bans := fromJSON[[]ban](t, f, "ban", "list"); len(bans) != 1 || bans[0].Network != guesserAddr+"/32" || bans[0].Strikes != 1 || !strings.Contains(bans[0].Reason, "20 different logins failed") {
		t.Errorf("bans %v", bans)
	}
	f.Kill()
	f.Start()
	welcome := func(addr string) func() bool {
		return func() bool { return strings.HasPrefix(greeting(t, addr, f.IMAP()), "* OK") }
	}
	harness.Eventually(t, "the ban holds after a crash", func() bool { return !welcome(guesserAddr)() })
	if out := f.CLI("ban", "remove", guesserAddr); !strings.Contains(out, guesserAddr+"/32 is let in again") {
		t.Errorf("ban remove says %q", out)
	}
	harness.Eventually(t, "the guesser is let in", welcome(guesserAddr))
	refused(t, f, []string{"ban", "remove", guesserAddr}, "is not banned")
	refused(t, f, []string{"ban", "add", "example.org"}, "neither an address nor a network")
	if out := f.CLI("ban", "list"); out != "nobody is banned\n" {
		t.Errorf("ban list says %q", out)
	}
	if out := f.CLI("ban", "add", "127.0.0.0/29", "--for", "1h", "--reason", "trial"); !strings.Contains(out, "127.0.0.0/29 is banned until ") {
		t.Errorf("ban add says %q", out)
	}
	harness.Eventually(t, "a network is banned", func() bool { return !welcome(guesserAddr)() && !welcome("127.0.0.1")() })
	if !welcome("127.0.0.9")() {
		t.Error("a client beside the network is banned")
	}
	if out := f.CLI("ban", "list"); !strings.Contains(out, "127.0.0.0/29  operator") || !strings.Contains(out, "trial") {
		t.Errorf("ban list says\n%s", out)
	}
}
