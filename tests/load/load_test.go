// Package load measures whole farms: the same letters through one process and through a farm of processes on real servers, in
// one run, so that the figures can be compared.
//
//	MAILFARM_SERVERS=… go test -run '^$' -bench . -benchtime 1x ./tests/load
package load

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/tests/harness"
)

const (
	accounts = 20
	// body is how many octets a letter has, about.
	body = 4 << 10
)

// unlimited lets one client and one account hand in as much as they can.
const unlimited = `
ingress: {limits: {connections_per_address: 1000, messages: 100000}}
limits: {connections: {smtp: -1}}
`

// shape is a farm to be measured.
type shape struct {
	name   string
	layout *harness.Layout // nil: one process
	flags  string          // configuration
}

func BenchmarkShapes(b *testing.B) {
	for _, s := range []shape{
		{"one-process", nil, unlimited},
		{"farm", &harness.Layout{}, unlimited},
		{"farm-2-deliveries", &harness.Layout{Processes: map[string]int{"delivery-local": 2}}, unlimited},
		{"farm-3-deliveries", &harness.Layout{Processes: map[string]int{"delivery-local": 3}}, unlimited},
	} {
		for _, conns := range []int{20, 400} {
			b.Run(fmt.Sprintf("%s/%d-connections", s.name, conns), func(b *testing.B) { measure(b, s, conns, 4000, 0) })
		}
	}
}

// BenchmarkTrickle is what a farm asks of its S3 server when little is to do: 20 messages a second.
func BenchmarkTrickle(b *testing.B) {
	measure(b, shape{"farm", &harness.Layout{}, unlimited}, 4, 400, 20)
}

// start starts a farm of this shape.
func (s shape) start(b *testing.B) (f *harness.Farm) {
	b.Helper()
	config := harness.ConfigFile(b, s.flags)
	if s.layout == nil {
		f = harness.Dev(b, "--config", config)
	} else {
		f = harness.Parts(b, *s.layout, "--config", config)
	}
	f.Start()
	return f
}

// measure hands letters in on so many connections, at a rate if there is one, and reports how fast they were accepted and
// could be read, what CPU that took, and how often the S3 server was asked.
func measure(b *testing.B, s shape, conns, letters, rate int) {
	f := s.start(b)
	users := users(b, f)
	for b.Loop() {
		cpu, requests := cpuOf(b, f), requestsOf(b, f)
		before := total(b, f, users)
		start := time.Now()
		hand(b, f, users, conns, letters, rate)
		accepted := time.Since(start)
		for total(b, f, users) < before+letters {
			<-time.After(20 * time.Millisecond)
		}
		delivered := time.Since(start)
		n := float64(letters)
		b.ReportMetric(n/accepted.Seconds(), "accepted/s")
		b.ReportMetric(n/delivered.Seconds(), "delivered/s")
		b.ReportMetric(float64((cpuOf(b, f)-cpu).Microseconds())/n/1000, "CPU-ms/message")
		if s.layout != nil {
			b.ReportMetric((requestsOf(b, f)-requests)/n*1000, "S3-requests/1000")
			for _, p := range f.Processes() {
				b.Logf("%-16s %d MiB", p.Name, memoryOf(b, p.PID())>>20)
			}
		}
	}
}

// users makes the accounts.
func users(b *testing.B, f *harness.Farm) (all []string) {
	b.Helper()
	password := filepath.Join(b.TempDir(), "password")
	if err := os.WriteFile(password, []byte(harness.DevPassword+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	for i := range accounts {
		user := fmt.Sprintf("user%d@example.org", i)
		f.CLI("account", "add", user, "--password-file", password)
		all = append(all, user)
	}
	return all
}

// hand hands the letters in, each connection one after another.
func hand(b *testing.B, f *harness.Farm, users []string, conns, letters, rate int) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	text := strings.Repeat("All work and no play makes a dull letter of this kind.\r\n", body/56)
	start := time.Now()
	for range conns {
		wg.Go(func() {
			c, err := smtp.Dial(f.SMTP())
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			for {
				i := int(next.Add(1)) - 1
				if i >= letters {
					c.Quit()
					return
				}
				if rate > 0 {
					<-time.After(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
				}
				to := users[i%len(users)]
				letter := append(harness.Letter(fmt.Sprintf("load-%d", i), "carol@sender.example", to), text...)
				if err := harness.SendOn(c, "carol@sender.example", []string{to}, letter, nil, nil); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// total is how many messages the users' INBOXes have.
func total(b *testing.B, f *harness.Farm, users []string) (n int) {
	b.Helper()
	var sum atomic.Int64
	var wg sync.WaitGroup
	for _, user := range users {
		wg.Go(func() {
			c, err := client(f, user)
			if err != nil {
				b.Error(err)
				return
			}
			status, err := c.Status("INBOX", &imap.StatusOptions{NumMessages: true}).Wait()
			if err != nil {
				b.Error(err)
				return
			}
			sum.Add(int64(*status.NumMessages))
		})
	}
	wg.Wait()
	return int(sum.Load())
}

var clients sync.Map // address and user -> *imapclient.Client

// client is a user's connection, which is kept.
func client(f *harness.Farm, user string) (*imapclient.Client, error) {
	key := f.IMAPS() + user + f.Data
	if c, ok := clients.Load(key); ok {
		return c.(*imapclient.Client), nil
	}
	c, err := imapclient.DialTLS(f.IMAPS(), &imapclient.Options{TLSConfig: f.TLS()})
	if err != nil {
		return nil, err
	}
	if err := c.Login(user, harness.DevPassword).Wait(); err != nil {
		return nil, err
	}
	clients.Store(key, c)
	return c, nil
}

// cpuOf is what all processes of mailfarm have used.
func cpuOf(b *testing.B, f *harness.Farm) (all time.Duration) {
	b.Helper()
	for _, p := range f.Processes() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		if err != nil {
			b.Fatal(err)
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, f := range fields[11:13] { // utime and stime, proc_pid_stat(5), in hundredths of a second
			ticks, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			all += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return all
}

func memoryOf(b *testing.B, pid int) int64 {
	b.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// requestsOf is how often all processes have asked the S3 server.
func requestsOf(b *testing.B, f *harness.Farm) (n float64) {
	b.Helper()
	for _, p := range f.Processes() {
		resp, err := http.Get("http://" + p.HTTP() + "/metrics")
		if err != nil {
			b.Fatal(err)
		}
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if name, value, ok := strings.Cut(lines.Text(), "} "); ok && strings.HasPrefix(name, "mailfarm_blob_s3_requests_total{") {
				v, err := strconv.ParseFloat(value, 64)
				if err != nil {
					b.Fatal(err)
				}
				n += v
			}
		}
		resp.Body.Close()
	}
	return n
}
