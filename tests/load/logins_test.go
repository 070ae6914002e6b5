package load

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mailfarm/mailfarm/tests/harness"
)

const (
	// loginAccounts log in once each; then they take turns for as many logins as again says.
	loginAccounts = 400
	loginsAgain   = 4000
	// loginClients is how many connect at once.
	loginClients = 16
)

// BenchmarkLogins connects by TLS, logs in and out: first every account once, of which the server knows nothing yet, then accounts
// that it has seen. Debian's Dovecot does the same in the same run, as it ships: a login process for each connection, one password
// for all, which it compares without a hash.
func BenchmarkLogins(b *testing.B) {
	b.Run("one-process", func(b *testing.B) {
		f := shape{"one-process", nil, ""}.start(b)
		var list strings.Builder
		names := loginNames()
		for _, name := range names {
			fmt.Fprintf(&list, "%s,%s\n", name, harness.DevPassword)
		}
		csv := filepath.Join(b.TempDir(), "accounts.csv")
		if err := os.WriteFile(csv, []byte(list.String()), 0o600); err != nil {
			b.Fatal(err)
		}
		f.CLI("account", "import", csv)
		for b.Loop() {
			before := cpuOf(b, f)
			logins(b, "first", f.IMAPS(), f.TLS(), names, harness.DevPassword, len(names))
			first := cpuOf(b, f)
			logins(b, "again", f.IMAPS(), f.TLS(), names, harness.DevPassword, loginsAgain)
			b.ReportMetric(float64((first-before).Microseconds())/1000/float64(len(names)), "CPU-ms/first")
			b.ReportMetric(float64((cpuOf(b, f)-first).Microseconds())/1000/loginsAgain, "CPU-ms/again")
		}
	})
	b.Run("dovecot", func(b *testing.B) {
		d := harness.StartDovecot(b)
		pem, err := os.ReadFile(d.CA)
		if err != nil {
			b.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		addr, trust := fmt.Sprintf("127.0.0.1:%d", d.PortTLS), &tls.Config{RootCAs: roots, ServerName: d.Host}
		names := loginNames()
		for b.Loop() {
			logins(b, "first", addr, trust, names, harness.OtherPassword, len(names))
			logins(b, "again", addr, trust, names, harness.OtherPassword, len(names))
		}
	})
}

func loginNames() (names []string) {
	for i := range loginAccounts {
		names = append(names, fmt.Sprintf("login%d@example.org", i))
	}
	return names
}

// logins logs in n times, the names in turn, and reports how many a second; each client waits for the answer to its LOGOUT.
func logins(b *testing.B, phase, addr string, trust *tls.Config, names []string, password string, n int) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range loginClients {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := loginOnce(addr, trust, names[i%len(names)], password); err != nil {
					b.Errorf("%s: %v", names[i%len(names)], err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), phase+"/s")
}

func loginOnce(addr string, trust *tls.Config, name, password string) error {
	c, err := imapclient.DialTLS(addr, &imapclient.Options{TLSConfig: trust})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Login(name, password).Wait(); err != nil {
		return err
	}
	return c.Logout().Wait()
}
