package certs

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Pair is a certificate, with those that lead from it to its authority, and its key: files in PEM.
type Pair struct {
	CertificateFile string `yaml:"certificate_file"`
	KeyFile         string `yaml:"key_file"`
}

// Config of a Reloader.
type Config struct {
	// Name tells what the certificates are for, in logs and metrics, as "clients".
	Name string
	// Pairs are what is shown: the first that goes with the name and the algorithms that a client asks for, or else the
	// first. At least one.
	Pairs []Pair
	// CAFile has the authorities' certificates that peers must have one of: TLS is mutual then. Empty: it is not.
	CAFile string
	// Hangup loads what has changed at once on SIGHUP too, which otherwise ends a process.
	Hangup bool
	// Every is how often the files are looked at. Default 5s.
	Every time.Duration
	Log   *slog.Logger
	// Metrics may be nil.
	Metrics prometheus.Registerer
}

// Validate tells all faults of pairs at once, naming them under the key.
func Validate(key string, pairs []Pair) error {
	var faults []error
	seen := map[string]bool{}
	for i, p := range pairs {
		if p.CertificateFile == "" || p.KeyFile == "" {
			faults = append(faults, fmt.Errorf("%s[%d]: certificate_file and key_file go together", key, i))
		}
		if p.CertificateFile != "" && seen[p.CertificateFile] {
			faults = append(faults, fmt.Errorf("%s[%d].certificate_file: %s is there already", key, i, p.CertificateFile))
		}
		seen[p.CertificateFile] = true
	}
	return errors.Join(faults...)
}
