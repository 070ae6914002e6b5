package pop3_test

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
)

// popConn is a client that only counts what it gets.
type popConn struct {
	net.Conn
	r *bufio.Reader
}

// ask sends a command and reads its answer, to the line with a dot where many is set.
func (c *popConn) ask(b *testing.B, command string, many bool) {
	if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
		b.Fatal(err)
	}
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			b.Fatal(err)
		}
		if first && line[0] != '+' {
			b.Fatalf("%s: %s", command, line)
		}
		if !many || !first && bytes.Equal(line, []byte(".\r\n")) {
			return
		}
	}
}

// BenchmarkSingle times what clients do with maildrops of growing size: to log in and ask for unique ids takes its time by the
// message, to fetch one should not depend on how many there are.
func BenchmarkSingle(b *testing.B) {
	f := startFarm(b, nil)
	for _, n := range []int{1000, 10000, 100000} {
		user, account := f.user(b)
		body := strings.Repeat("a line of text\r\n", 250)
		for at := 0; at < n; at += 500 {
			var bodies []string
			for i := range min(500, n-at) {
				bodies = append(bodies, fmt.Sprintf("Subject: message %d\r\n\r\n%s", at+i, body))
			}
			f.file(b, account, bodies...)
		}
		login := func(b *testing.B) *popConn {
			nc, err := net.Dial("tcp", f.addr)
			check(b, err)
			c := &popConn{nc, bufio.NewReader(nc)}
			_, err = c.r.ReadSlice('\n')
			check(b, err)
			c.ask(b, "USER "+user, false)
			c.ask(b, "PASS "+password, false)
			return c
		}
		b.Run(fmt.Sprintf("login-uidl/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c := login(b)
				c.ask(b, "UIDL", true)
				c.ask(b, "QUIT", false)
				c.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/message")
		})
		for _, order := range []string{"in-order", "at-random"} {
			b.Run(fmt.Sprintf("retr-%s/%d", order, n), func(b *testing.B) {
				c := login(b)
				defer c.Close()
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					k := i % n
					if order == "at-random" {
						k = rand.IntN(n)
					}
					c.ask(b, fmt.Sprintf("RETR %d", k+1), true)
				}
			})
		}
	}
}
