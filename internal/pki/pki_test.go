package pki_test

import (
	"bytes"
	"crypto/x509"
	"os"
	"testing"

	"github.com/mailfarm/mailfarm/internal/pki"
)

func TestIssuedCertificateIsTrustedAndKept(t *testing.T) {
	dir := t.TempDir()
	ca, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := ca.Issue("server", pki.Server, "localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		if _, err := first.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: ca.Pool()}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := first.Leaf.Verify(x509.VerifyOptions{DNSName: "other.example", Roots: ca.Pool()}); err == nil {
		t.Error("it is valid for a host that was not named")
	}
	again, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.Issue("server", pki.Server, "localhost")
	if err != nil || !bytes.Equal(first.Certificate[0], second.Certificate[0]) {
		t.Errorf("a good certificate was made anew (%v)", err)
	}
	third, err := again.Issue("server", pki.Server, "localhost", "mx.example.org")
	if err != nil || third.Leaf.VerifyHostname("mx.example.org") != nil {
		t.Errorf("a new host is not in the certificate (%v)", err)
	}
	fourth, err := again.Issue("server", pki.Client, "localhost")
	if err != nil || bytes.Equal(third.Certificate[0], fourth.Certificate[0]) {
		t.Errorf("a server's certificate serves as a client's (%v)", err)
	}
	for _, f := range []string{ca.Key("server"), dir + "/ca.key"} {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", f, info.Mode(), err)
		}
	}
}

func TestAuthorityIsNeverReplaced(t *testing.T) {
	dir := t.TempDir()
	ca, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue("store", pki.Peer, "store")
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(ca.CA())
	if err != nil {
		t.Fatal(err)
	}

	// A machine that has what everybody may have, and not the key.
	key, away := dir+"/ca.key", dir+"/away"
	if err := os.Rename(key, away); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.Open(dir); err == nil {
		t.Error("an authority without its key was opened")
	}
	if after, err := os.ReadFile(ca.CA()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("ca.pem was replaced (%v)", err)
	}
	if _, err := os.Stat(key); err == nil {
		t.Error("a new key was made")
	}

	// The key without the certificate: what it signed before is still of this authority.
	if err := os.Rename(away, key); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(ca.CA()); err != nil {
		t.Fatal(err)
	}
	again, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Leaf.Verify(x509.VerifyOptions{DNSName: "store", Roots: again.Pool()}); err != nil {
		t.Errorf("what the key signed before: %v", err)
	}
}
