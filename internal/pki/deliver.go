package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
)

// Delivered are the files that Deliver puts into a folder.
const (
	DeliveredCA          = "ca.pem"
	DeliveredCertificate = "certificate.pem"
	DeliveredKey         = "key.pem"
)

// Deliver puts a certificate for hosts, its key and the authority's certificate into a folder, for a process that shall not
// see the authority. A certificate there that another authority has signed is the operator's own: nothing changes then.
func (a *Authority) Deliver(folder string, use Use, hosts ...string) error {
	cert, key := filepath.Join(folder, DeliveredCertificate), filepath.Join(folder, DeliveredKey)
	if a.foreign(cert, key) {
		return nil
	}
	name := filepath.Base(folder)
	if _, err := a.Issue(name, use, hosts...); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("deliver certificate %s: %w", name, err)
	}
	for _, f := range []struct{ from, to string }{
		{a.CA(), filepath.Join(folder, DeliveredCA)}, {a.Key(name), key}, {a.Certificate(name), cert},
	} {
		content, err := os.ReadFile(f.from)
		if err == nil {
			err = replace(f.to, content)
		}
		if err != nil {
			return fmt.Errorf("deliver certificate %s: %w", name, err)
		}
	}
	return nil
}

// foreign tells whether a whole certificate is there that this authority has not signed.
func (a *Authority) foreign(cert, key string) bool {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil || pair.Leaf == nil {
		return false
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, CurrentTime: pair.Leaf.NotBefore})
	return err != nil
}
