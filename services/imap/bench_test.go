package imap_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// benchMessages is how many messages the mailbox of the benchmarks has; IMAP_BENCH_MESSAGES changes it.
func benchMessages(b *testing.B) int {
	if n, err := strconv.Atoi(os.Getenv("IMAP_BENCH_MESSAGES")); err == nil {
		return n
	}
	return 10000
}

// roundTrip sends a command and reads to its end. It returns how many octets came.
func roundTrip(b *testing.B, c *lineConn, command string) int {
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(c, "z %s\r\n", command); err != nil {
		b.Fatal(err)
	}
	n := 0
	for {
		line, err := c.r.ReadSlice('\n')
		n += len(line)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			b.Fatal(err)
		}
		if bytes.HasPrefix(line, []byte("z ")) {
			if !bytes.HasPrefix(line, []byte("z OK")) {
				b.Fatalf("%s: %s", command, line)
			}
			return n
		}
	}
}

// BenchmarkCommands times commands over a whole mailbox, real store and gRPC included.
func BenchmarkCommands(b *testing.B) {
	f := startFarm(b, nil)
	user, account := f.account(b)
	n := benchMessages(b)
	for at := 0; at < n; at += 5000 {
		f.fill(b, account, "INBOX", numbered(at, min(n, at+5000))...)
	}
	for _, command := range []string{
		"SELECT INBOX", "FETCH 1:* (UID FLAGS)", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)", "FETCH 1:* (UID ENVELOPE)",
		"FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT)])", "FETCH 1:* (BODY.PEEK[])",
		"STORE 1:* +FLAGS (\\Flagged)", "STORE 1:* -FLAGS (\\Flagged)", "STORE 1:* +FLAGS.SILENT (\\Answered)", "STORE 7 +FLAGS (\\Seen)",
		"SEARCH UNSEEN", "UID SEARCH FROM sender3", "UID SEARCH SUBJECT \"message 77\"", "UID SEARCH TEXT \"body of 77\"",
		"SORT (DATE) UTF-8 ALL", "SORT (SUBJECT REVERSE DATE) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL", "NOOP",
	} {
		b.Run(command, func(b *testing.B) {
			c := dial(b, f.addr, false)
			c.readLine()
			roundTrip(b, c, "LOGIN "+user+" "+quote(password))
			roundTrip(b, c, "SELECT INBOX")
			b.ResetTimer()
			b.ReportAllocs()
			octets := 0
			for b.Loop() {
				octets += roundTrip(b, c, command)
			}
			b.ReportMetric(float64(octets)/float64(b.N), "octets/op")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/message")
		})
	}
}
