package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// stamp tells whether a file has changed; the zero stamp is a file that cannot be looked at.
type stamp struct {
	modified time.Time
	size     int64
	inode    uint64
}

// look takes the stamp of a file; of a link that of what it leads to.
func look(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	s := stamp{modified: info.ModTime(), size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}

// load reads a pair that may be used at now in place of one before, which may be nil.
func (p Pair) load(now time.Time, before *tls.Certificate) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(p.CertificateFile, p.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load %s with %s: %w", p.CertificateFile, p.KeyFile, err)
	}
	if before == nil {
		return &c, nil // Even one that is over: somebody may know why, and the metric tells.
	}
	switch {
	case now.After(c.Leaf.NotAfter):
		return nil, fmt.Errorf("%s has been over since %v", p.CertificateFile, c.Leaf.NotAfter)
	case c.Leaf.NotBefore.Before(before.Leaf.NotBefore) && now.Before(before.Leaf.NotAfter):
		return nil, fmt.Errorf("%s is of %v, older than what is in use, of %v", p.CertificateFile, c.Leaf.NotBefore, before.Leaf.NotBefore)
	}
	return &c, nil
}

// loadPool reads the certificates of authorities.
func loadPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(path + " holds no certificate")
	}
	return pool, nil
}
