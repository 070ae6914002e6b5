package load

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailfarm/mailfarm/internal/credential"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// BenchmarkAccounts does the same with an account of few and with one of 100,000, all of which have mail: what concerns one
// account should cost the same. MAILFARM_BENCH_ACCOUNTS names other numbers, such as 1000,20000.
func BenchmarkAccounts(b *testing.B) {
	names := os.Getenv("MAILFARM_BENCH_ACCOUNTS")
	if names == "" {
		names = "1000,100000"
	}
	for _, s := range strings.Split(names, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			b.Fatalf("MAILFARM_BENCH_ACCOUNTS: %q is no number of accounts", s)
		}
		b.Run(s, func(b *testing.B) { benchAccounts(b, n) })
	}
}

func benchAccounts(b *testing.B, n int) {
	f := shape{"one-process", nil, crowded}.start(b)
	began := time.Now()
	users := importAccounts(b, f, n)
	b.Logf("%d accounts imported in %v", n, time.Since(began).Round(time.Millisecond))
	began = time.Now()
	sendAll(b, f, users)
	f.Settle()
	b.Logf("a message delivered to each in %v", time.Since(began).Round(time.Millisecond))
	cfg := f.TLS()
	letter := string(harness.Letter("one", "carol@sender.example", "all@example.org"))
	steps := []struct{ name, command, literal string }{
		{"select", "SELECT INBOX", ""},
		{"fetch", "FETCH 1 (FLAGS BODY.PEEK[])", ""},
		{"store", `STORE 1 +FLAGS (\Seen)`, ""},
		{"append", fmt.Sprintf("APPEND INBOX {%d+}", len(letter)), letter + "\r\n"},
		{"status", "STATUS Sent (MESSAGES UNSEEN)", ""},
		{"list", `LIST "" *`, ""},
	}
	const asked = 400
	taken := make([][]time.Duration, len(steps)+1)
	for b.Loop() {
		cpu := cpuOf(b, f)
		for i := range asked {
			c, err := dialIMAP(f, cfg)
			if err != nil {
				b.Fatal(err)
			}
			took(b, &taken[0], func() error { return c.do("LOGIN " + users[i*n/asked%n] + " " + harness.DevPassword) })
			for k, s := range steps {
				took(b, &taken[1+k], func() error {
					if _, err := c.Write([]byte("z " + s.command + "\r\n" + s.literal)); err != nil {
						return err
					}
					return c.end(s.name)
				})
			}
			c.Close()
		}
		b.ReportMetric(float64((cpuOf(b, f)-cpu).Microseconds())/1000/asked, "CPU-ms/session")
	}
	report := func(name string, list []time.Duration) {
		slices.Sort(list)
		b.ReportMetric(float64(list[len(list)/2].Microseconds()), name+"-µs")
	}
	report("login", taken[0])
	for k, s := range steps {
		report(s.name, taken[1+k])
	}
	b.ReportMetric(float64(pssOf(b, f))/(1<<20), "MiB")
	if err := f.Stop(); err != nil {
		b.Fatal(err)
	}
	began = time.Now()
	f.Start()
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "start-ms")
}

// took adds how long a command took.
func took(b *testing.B, list *[]time.Duration, run func() error) {
	b.Helper()
	start := time.Now()
	if err := run(); err != nil {
		b.Fatal(err)
	}
	*list = append(*list, time.Since(start))
}

// importAccounts makes accounts of one hash, so that nobody has to derive a key for each.
func importAccounts(b *testing.B, f *harness.Farm, n int) (all []string) {
	b.Helper()
	hash, err := credential.NewSCRAM(harness.DevPassword, 4096)
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "accounts.csv")
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriter(file)
	for i := range n {
		all = append(all, fmt.Sprintf("crowd%d@example.org", i))
		fmt.Fprintf(w, "%s,\"%s\"\n", all[i], hash)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	file.Close()
	f.CLI("account", "import", path)
	return all
}

// sendAll sends a letter to all, in messages of 100 recipients.
func sendAll(b *testing.B, f *harness.Farm, users []string) {
	b.Helper()
	c, err := smtp.Dial(f.SMTP())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for part := range slices.Chunk(users, 100) {
		letter := harness.Letter("to-all", "carol@sender.example", "all@example.org")
		if err := harness.SendOn(c, "carol@sender.example", part, letter, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}
