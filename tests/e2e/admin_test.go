package e2e

import (
	"crypto/tls"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailfarm/mailfarm/internal/pki"
	"github.com/mailfarm/mailfarm/tests/harness"
)

// TestAdminPort wants a client certificate of the farm's authority, and then serves the same verbs.
func TestAdminPort(t *testing.T) {
	f := harness.StartDev(t)
	folder := filepath.Join(f.Data, "tls")
	with := func(ca, cert, key string) []string {
		return []string{"account", "list", "--admin", f.AdminAddress(), "--ca", ca, "--cert", cert, "--key", key}
	}
	ours := with(f.CA(), filepath.Join(folder, "operator.pem"), filepath.Join(folder, "operator.key"))
	if out, code := verb(t, ours...); code != 0 || !strings.Contains(out, alice) {
		t.Errorf("with the operator's certificate: exit status %d\n%s", code, out)
	}
	var accounts []account
	out, _ := verb(t, append(ours, "--json")...)
	if err := json.Unmarshal([]byte(out), &accounts); err != nil || len(accounts) != 2 {
		t.Errorf("--json over the port: %v\n%s", err, out)
	}

	// One authority may sign the certificates of operators and of processes.
	authority, err := pki.Open(filepath.Dir(f.CA()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authority.Issue("imap-9", pki.Peer, "imap-9"); err != nil {
		t.Fatal(err)
	}
	if out, code := verb(t, with(f.CA(), authority.Certificate("imap-9"), authority.Key("imap-9"))...); code != 2 || strings.Contains(out, alice) {
		t.Errorf("with the certificate of a process: exit status %d\n%s", code, out)
	}

	strangers, err := pki.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strangers.Issue("operator", pki.Client, "operator"); err != nil {
		t.Fatal(err)
	}
	if out, code := verb(t, with(f.CA(), strangers.Certificate("operator"), strangers.Key("operator"))...); code != 2 || strings.Contains(out, alice) {
		t.Errorf("with a stranger's certificate: exit status %d\n%s", code, out)
	}
	if out, code := verb(t, with(f.CA(), filepath.Join(folder, "server.pem"), filepath.Join(folder, "server.key"))...); code != 2 || strings.Contains(out, alice) {
		t.Errorf("with the server's certificate: exit status %d\n%s", code, out)
	}
	if out, code := verb(t, with(strangers.CA(), filepath.Join(folder, "operator.pem"), filepath.Join(folder, "operator.key"))...); code != 2 {
		t.Errorf("trusting another authority: exit status %d\n%s", code, out)
	}

	// Without a certificate the handshake does not even get to the first request.
	c, err := tls.Dial("tcp", f.AdminAddress(), &tls.Config{RootCAs: f.TLS().RootCAs, ServerName: "localhost", NextProtos: []string{"h2"}})
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate the port says %v, want that one is required", err)
	}
}
