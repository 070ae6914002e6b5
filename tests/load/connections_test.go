package load

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/tests/harness"
)

// many is how many connections BenchmarkIdleConnections holds; MAILFARM_BENCH_CONNECTIONS changes it. Each needs a file descriptor
// here and one in the farm.
func many(b *testing.B) int {
	if s := os.Getenv("MAILFARM_BENCH_CONNECTIONS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	return 1000
}

// crowded lets so many in.
const crowded = `
imap: {max_connections: 20000}
limits: {connections: {imap: -1, smtp: -1}}
ingress: {limits: {connections_per_address: 1000, messages: 1000000, recipients: 1000000}}
`

// imapConn is a connection that costs this side little.
type imapConn struct {
	net.Conn
	r *bufio.Reader
}

// dialIMAP connects over TLS, from an address of its own: no limit per address counts.
func dialIMAP(f *harness.Farm, cfg *tls.Config) (*imapConn, error) {
	source := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))
	d := net.Dialer{Timeout: 30 * time.Second, LocalAddr: &net.TCPAddr{IP: source}}
	raw, err := d.Dial("tcp", f.IMAPS())
	if err != nil {
		return nil, err
	}
	c := &imapConn{Conn: tls.Client(raw, cfg)}
	c.r = bufio.NewReaderSize(c, 512)
	_, err = c.until("* ")
	return c, err
}

// until reads up to a line that begins so.
func (c *imapConn) until(prefix string) (string, error) {
	c.SetReadDeadline(time.Now().Add(2 * time.Minute))
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, prefix) {
			return line, err
		}
	}
}

// do runs a command that is to end well.
func (c *imapConn) do(command string) error {
	if _, err := fmt.Fprintf(c, "z %s\r\n", command); err != nil {
		return err
	}
	return c.end(strings.Fields(command)[0])
}

// end reads the answer of a command that is to end well.
func (c *imapConn) end(name string) error {
	line, err := c.until("z ")
	if err == nil && !strings.HasPrefix(line, "z OK") {
		err = fmt.Errorf("%s: %s", name, line)
	}
	return err
}

// each runs f for all numbers below n, some at once.
func each(b *testing.B, n int, f func(i int) error) {
	b.Helper()
	var wg sync.WaitGroup
	next := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// pssOf is the farm's share of memory as the kernel counts it, octets.
func pssOf(b *testing.B, f *harness.Farm) (all int64) {
	b.Helper()
	for _, p := range f.Processes() {
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.PID()))
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(rollup), "\nPss:")
		kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		all += kib << 10
	}
	return all
}

// BenchmarkIdleConnections holds IMAP connections over TLS in IDLE, an account each, and tells what memory one costs in all
// processes, and how long a message to each takes to be told to all.
func BenchmarkIdleConnections(b *testing.B) {
	n := many(b)
	f := shape{"one-process", nil, crowded}.start(b)
	users := importAccounts(b, f, n)
	cfg := f.TLS()
	for b.Loop() {
		<-time.After(5 * time.Second) // what making accounts leaves to do
		before := pssOf(b, f)
		conns := make([]*imapConn, n)
		opened := time.Now()
		each(b, n, func(i int) (err error) {
			c, err := dialIMAP(f, cfg)
			if err != nil {
				return err
			}
			conns[i] = c
			for _, command := range []string{"LOGIN " + users[i] + ` "` + harness.DevPassword + `"`, "SELECT INBOX"} {
				if err := c.do(command); err != nil {
					return err
				}
			}
			if _, err := c.Write([]byte("z IDLE\r\n")); err != nil {
				return err
			}
			_, err = c.until("+ ")
			return err
		})
		b.ReportMetric(float64(n)/time.Since(opened).Seconds(), "opened/s")
		<-time.After(5 * time.Second)
		b.ReportMetric(float64(pssOf(b, f)-before)/float64(n)/1024, "KiB/connection")
		if where := os.Getenv("MAILFARM_BENCH_HEAP"); where != "" {
			saveHeap(b, f, where)
		}
		sent := time.Now()
		go func() {
			c, err := smtp.Dial(f.SMTP())
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			for i, user := range users {
				letter := harness.Letter(fmt.Sprintf("idle-%d", i), "carol@sender.example", user)
				if err := harness.SendOn(c, "carol@sender.example", []string{user}, letter, nil, nil); err != nil {
					b.Error(err)
					return
				}
			}
		}()
		each(b, n, func(i int) error {
			for {
				line, err := conns[i].until("* ")
				if err != nil || strings.Contains(line, "EXISTS") {
					return err
				}
			}
		})
		b.ReportMetric(float64(n)/time.Since(sent).Seconds(), "notified/s")
		for _, c := range conns {
			c.Close()
		}
	}
}

// BenchmarkLogin is how many clients log in over TLS a second, each on a connection of its own: first with passwords that nobody
// has checked yet, then with those that are known.
func BenchmarkLogin(b *testing.B) {
	const n = 1000
	f := shape{"one-process", nil, crowded}.start(b)
	users := importAccounts(b, f, n)
	cfg := f.TLS()
	for b.Loop() {
		for _, turn := range []string{"first", "known"} {
			cpu, start := cpuOf(b, f), time.Now()
			each(b, n, func(i int) error {
				c, err := dialIMAP(f, cfg)
				if err != nil {
					return err
				}
				defer c.Close()
				if err := c.do("LOGIN " + users[i] + ` "` + harness.DevPassword + `"`); err != nil {
					return err
				}
				return c.do("LOGOUT")
			})
			b.ReportMetric(n/time.Since(start).Seconds(), turn+"-logins/s")
			b.ReportMetric(float64((cpuOf(b, f)-cpu).Microseconds())/n/1000, turn+"-CPU-ms/login")
		}
	}
}

// saveHeap writes the heap's profile and the stacks of the first process to files that begin so.
func saveHeap(b *testing.B, f *harness.Farm, where string) {
	b.Helper()
	for _, name := range []string{"heap?gc=1", "goroutine?debug=1", "allocs?debug=1"} {
		resp, err := http.Get("http://" + f.Processes()[0].HTTP() + "/debug/pprof/" + name)
		if err != nil {
			b.Fatal(err)
		}
		octets, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil {
			err = os.WriteFile(where+"."+name[:4], octets, 0o600)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
