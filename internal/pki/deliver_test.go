package pki_test

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"

	"github.com/mailfarm/mailfarm/internal/pki"
)

func TestDeliver(t *testing.T) {
	open := func() *pki.Authority {
		a, err := pki.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	read := func(folder string) []byte {
		t.Helper()
		cert := filepath.Join(folder, pki.DeliveredCertificate)
		if _, err := tls.LoadX509KeyPair(cert, filepath.Join(folder, pki.DeliveredKey)); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(cert)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	ours, others, folder := open(), open(), filepath.Join(t.TempDir(), "nats")
	for _, step := range []struct {
		name    string
		from    *pki.Authority
		host    string
		changes bool
	}{
		{"into an empty folder", ours, "nats-1", true},
		{"again", ours, "nats-1", false},
		{"for another host", ours, "nats-2", true},
		{"over a certificate of another authority", others, "nats-3", false},
	} {
		t.Run(step.name, func(t *testing.T) {
			before, _ := os.ReadFile(filepath.Join(folder, pki.DeliveredCertificate))
			if err := step.from.Deliver(folder, pki.Peer, step.host); err != nil {
				t.Fatal(err)
			}
			if changed := !bytes.Equal(before, read(folder)); changed != step.changes {
				t.Errorf("the certificate changed: %v, want %v", changed, step.changes)
			}
			ca, err := os.ReadFile(filepath.Join(folder, pki.DeliveredCA))
			want, _ := os.ReadFile(ours.CA())
			if err != nil || !bytes.Equal(ca, want) {
				t.Errorf("ca.pem is not the authority's that signed the certificate (%v)", err)
			}
		})
	}

	// A key that was not written whole is no reason to keep the certificate.
	if err := os.WriteFile(filepath.Join(folder, pki.DeliveredKey), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := ours.Deliver(folder, pki.Peer, "nats-2"); err != nil {
		t.Fatal(err)
	}
	read(folder)
}
