// Package pki makes a private certificate authority and certificates of it: for trying mailfarm, and for the farm's own use.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	caLife = 10 * 365 * 24 * time.Hour
	// leafLife stays below the 825 days from which on some clients refuse a certificate.
	leafLife = 800 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is made anew.
	renewBefore = 30 * 24 * time.Hour
)

// Files of an authority, in one folder.
type Files struct{ Dir string }

// CA is the file with the authority's certificate: what clients are to trust.
func (f Files) CA() string { return filepath.Join(f.Dir, "ca.pem") }

func (f Files) caKey() string { return filepath.Join(f.Dir, "ca.key") }

// Certificate and Key are the files of the named certificate.
func (f Files) Certificate(name string) string { return filepath.Join(f.Dir, name+".pem") }

// Key is the file of the named certificate's key.
func (f Files) Key(name string) string { return filepath.Join(f.Dir, name+".key") }

// Open makes the authority at its first call, and reads it afterwards. A certificate without its key is an error.
func Open(dir string) (*Authority, error) {
	f := Files{dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(f.CA(), f.caKey())
	if errors.Is(err, os.ErrNotExist) {
		// An authority is never replaced: all that trusts it would refuse what the new one signs.
		if _, err := os.Lstat(f.CA()); err == nil {
			return nil, fmt.Errorf("certificate authority in %s: ca.pem is there without ca.key: work where the key is, put it back, or remove ca.pem for a new authority", dir)
		}
		pair, err = makeCA(f)
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("certificate authority in %s: the key is not ECDSA", dir)
	}
	return &Authority{Files: f, cert: pair.Leaf, key: key}, nil
}

// Authority signs certificates.
type Authority struct {
	Files
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Pool holds the authority's certificate.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// Use is what a certificate proves: a server's cannot open an operator's door.
type Use uint8

// Uses.
const (
	// Server is who answers clients.
	Server Use = iota
	// Client is an operator.
	Client
	// Peer is a process of the farm: it answers other processes and calls them.
	Peer
)

func (u Use) extended() []x509.ExtKeyUsage {
	switch u {
	case Client:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	case Peer:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
}

// Issue makes the named certificate for hosts (names and addresses), unless a good one is there already.
func (a *Authority) Issue(name string, use Use, hosts ...string) (tls.Certificate, error) {
	if pair, err := tls.LoadX509KeyPair(a.Certificate(name), a.Key(name)); err == nil && a.good(pair.Leaf, use, hosts) {
		return pair, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := template(name, leafLife)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = use.extended()
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue certificate %s: %w", name, err)
	}
	if err := write(a.Certificate(name), a.Key(name), der, key); err != nil {
		return tls.Certificate{}, fmt.Errorf("issue certificate %s: %w", name, err)
	}
	return tls.LoadX509KeyPair(a.Certificate(name), a.Key(name))
}

// good tells whether a certificate is ours, valid for a while, for the use alone, and names all hosts.
func (a *Authority) good(c *x509.Certificate, use Use, hosts []string) bool {
	if c == nil || !slices.Equal(c.ExtKeyUsage, use.extended()) || c.CheckSignatureFrom(a.cert) != nil || time.Until(c.NotAfter) < renewBefore {
		return false
	}
	for _, h := range hosts {
		if c.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

// makeCA makes the authority's certificate, with the key that is there: the first call may have been cut short.
func makeCA(f Files) (tls.Certificate, error) {
	key, err := caKey(f.caKey())
	if err != nil {
		return tls.Certificate{}, err
	}
	t := template("mailfarm private CA", caLife)
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := write(f.CA(), f.caKey(), der, key); err != nil {
		return tls.Certificate{}, err
	}
	return tls.LoadX509KeyPair(f.CA(), f.caKey())
}

// caKey reads the authority's key, or makes one.
func caKey(file string) (*ecdsa.PrivateKey, error) {
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: the key is not ECDSA", file)
	}
	return key, nil
}

func template(name string, life time.Duration) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), // clocks differ a little
		NotAfter:     time.Now().Add(life),
	}
}

// write puts the key first: a certificate without its key is of no use.
func write(certFile, keyFile string, der []byte, key *ecdsa.PrivateKey) error {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path, kind string
		der        []byte
	}{{keyFile, "PRIVATE KEY", keyDER}, {certFile, "CERTIFICATE", der}} {
		if err := replace(f.path, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der})); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file whole or not at all.
func replace(path string, content []byte) error {
	tmp := path + ".new"
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(content)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
