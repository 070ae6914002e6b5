package farm

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"

	"github.com/mailfarm/mailfarm/internal/pki"
)

// operatorName is the certificate in the data folder that an operator on this machine may use.
const operatorName = "operator"

// adminTLS is the admin port's side: clients without a certificate of the authority get nothing.
func (f *Farm) adminTLS() (*tls.Config, error) {
	a := f.cfg.Admin
	if a.CAFile == "" {
		cert, err := f.infra.CA.Issue("admin", pki.Server, f.cfg.Hostname, "localhost", "127.0.0.1", "::1")
		if err != nil {
			return nil, err
		}
		if _, err := f.infra.CA.Issue(operatorName, pki.Client, operatorName); err != nil {
			return nil, err
		}
		return mutual(cert, f.infra.CA.Pool()), nil
	}
	cert, err := tls.LoadX509KeyPair(a.CertificateFile, a.KeyFile)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(a.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", a.CAFile)
	}
	return mutual(cert, pool), nil
}

func mutual(cert tls.Certificate, pool *x509.CertPool) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
		VerifyConnection: operatorsOnly,
	}
}

// operatorsOnly refuses the certificates of processes (pki.Peer): one authority may sign theirs and the operators', and who got
// into a front-end must not find the keys of the whole farm there.
func operatorsOnly(state tls.ConnectionState) error {
	if slices.Contains(state.PeerCertificates[0].ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return fmt.Errorf("the certificate %q is that of a process, not an operator's", state.PeerCertificates[0].Subject.CommonName)
	}
	return nil
}
