package pop3

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mailfarm/mailfarm/internal/front"
)

// FuzzConnection plays a whole connection: every reply must be one, in order, and the session must end with its client.
func FuzzConnection(f *testing.F) {
	for _, s := range []string{
		"CAPA\r\nUSER alice\r\nPASS pass word\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 2 1\r\nDELE 1\r\nRSET\r\nNOOP\r\nDELE 2\r\nQUIT\r\n",
		"AUTH PLAIN AGFsaWNlAHBhc3Mgd29yZA==\r\nLIST 2\r\nUIDL 3\r\nQUIT\r\n",
		"AUTH LOGIN\r\nYWxpY2U=\r\ncGFzcyB3b3Jk\r\nTOP 1 0\r\n",
		"AUTH SCRAM-SHA-256 biwsbj1hLHI9Yg==\r\n*\r\nAUTH\r\n",
		"UTF8\r\nSTLS\r\n\r\n \r\nQUIT \r\nRETR 99999999999999\r\nUSER \xff\r\nPASS \xff\r\n",
		"USER alice\nPASS pass word\nRETR -1\nRETR 0\nRETR 01\nDELE 1 2\nTOP 1\nTOP 1 -1\n" + strings.Repeat("x", 2000) + "\nQUIT\n",
	} {
		f.Add([]byte(s))
	}
	store := &fake{bodies: []string{"Subject: a\r\n\r\n.b\r\n", "\n.\n\nx", ""}}
	svc := role(f, store, func(c *Config, _ *Deps) { c.LockWait = time.Nanosecond })
	f.Fuzz(func(t *testing.T, input []byte) {
		ours, theirs := net.Pipe()
		svc.front.Take(loopback{theirs, nil}, &front.Socket{})
		done := make(chan []byte)
		go func() {
			out, _ := io.ReadAll(ours)
			done <- out
		}()
		ours.SetWriteDeadline(time.Now().Add(10 * time.Second))
		ours.Write(input) // fails where the server has hung up
		ours.Write([]byte("\r\nQUIT\r\n"))
		// A session in the middle of AUTH takes QUIT for a response.
		ours.Write([]byte("QUIT\r\n"))
		var out []byte
		select {
		case out = <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the session does not end")
		}
		ours.Close()
		checkReplies(t, out)
		svc.front.Wait()
		if store.lockedBy() != "" {
			t.Fatal("the maildrop stays locked")
		}
	})
}

// checkReplies looks at the form of all that a session said.
func checkReplies(t *testing.T, out []byte) {
	t.Helper()
	if !bytes.HasPrefix(out, []byte("+OK mailfarm")) || !bytes.HasSuffix(out, []byte("\r\n")) {
		t.Fatalf("no greeting, or cut short: %q", out)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\r\n"), "\r\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.HasPrefix(line, "-ERR "), strings.HasPrefix(line, "+ "):
		case line == "+OK", line == "+OK message follows", strings.HasPrefix(line, "+OK ") && strings.HasSuffix(line, " octets") && i+1 < len(lines) && !isStatus(lines[i+1]):
			for i++; i < len(lines) && lines[i] != "."; i++ {
				if strings.HasPrefix(lines[i], ".") && !strings.HasPrefix(lines[i], "..") {
					t.Fatalf("a lone dot begins line %q of %q", lines[i], out)
				}
			}
			if i == len(lines) {
				t.Fatalf("a multi-line reply has no end: %q", out)
			}
		case strings.HasPrefix(line, "+OK "):
		default:
			t.Fatalf("%q is no reply, in %q", line, out)
		}
	}
}

func isStatus(line string) bool {
	return strings.HasPrefix(line, "+OK") || strings.HasPrefix(line, "-ERR")
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"QUIT", "quit ", "RETR 1", "TOP 1 2", "TOP\x00 1", "PASS a b", "UTF8", "", " ", "X"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		verb, args, ok := parse(line)
		if !ok {
			return
		}
		word := strings.TrimRight(string(verb[:]), "\x00")
		if len(word) < 3 || !strings.EqualFold(word, string(line[:len(word)])) {
			t.Fatalf("parse(%q) made the verb %q", line, word)
		}
		if len(line) > len(word)+1 && string(args) != string(line[len(word)+1:]) {
			t.Fatalf("parse(%q) made the arguments %q", line, args)
		}
		if n, ok := number(args); ok && (n < 0 || n > 999_999_999) {
			t.Fatalf("number(%q) = %d", args, n)
		}
	})
}
