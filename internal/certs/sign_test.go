package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"time"
)

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// sign puts a certificate of its own authority, good from one time to another, into the files of a pair.
func (w *world) sign(name string, from, to time.Time) {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(7), DNSNames: []string{"mail.example.org"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		w.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(name+".pem", append(pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", keyDER)...))
}
