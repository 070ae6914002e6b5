package rpc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mailfarm/mailfarm/internal/certs"
)

// Config says how roles of different processes reach each other: by gRPC, both sides with a certificate of one authority.
type Config struct {
	// Listen is where this process's roles answer those of other processes, as "0.0.0.0:2070". Default none.
	Listen string `yaml:"listen"`
	// CAFile is the authority of all roles' certificates, CertificateFile and KeyFile this process's, good for a server and a
	// client. PEM.
	CAFile          string `yaml:"ca_file"`
	CertificateFile string `yaml:"certificate_file"`
	KeyFile         string `yaml:"key_file"`
	// Targets say where roles are that this process does not run itself.
	Targets Targets `yaml:"targets"`
}

// Targets are gRPC targets such as "dns:///store:2070". A name with several addresses is used in turn. The certificate of
// who answers names the target's host.
type Targets struct {
	Directory string `yaml:"directory"`
	Store     string `yaml:"store"`
	Filter    string `yaml:"filter"`
}

// Of is the target of a role.
func (t Targets) Of(role string) string {
	switch role {
	case "directory":
		return t.Directory
	case "store":
		return t.Store
	case "filter":
		return t.Filter
	}
	return ""
}

// Validate tells all faults at once.
func (c *Config) Validate() error {
	var errs []error
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			errs = append(errs, fmt.Errorf("listen: %w", err))
		}
	}
	if used := c.Listen != "" || c.Targets != (Targets{}); used && (c.CAFile == "" || c.CertificateFile == "" || c.KeyFile == "") {
		errs = append(errs, errors.New("ca_file, certificate_file and key_file: roles of different processes prove themselves to each other: `mailfarm ca` makes these files"))
	}
	return errors.Join(errs...)
}

// Certificates keeps the process's certificate and authority as their files say. Its Credentials are Connect's, and its
// ServerConfig is Serving's.
func (c *Config) Certificates(log *slog.Logger, metrics prometheus.Registerer) (*certs.Reloader, error) {
	r, err := certs.Open(certs.Config{
		Name: "rpc", Pairs: []certs.Pair{{CertificateFile: c.CertificateFile, KeyFile: c.KeyFile}}, CAFile: c.CAFile, Hangup: true,
		Log: log, Metrics: metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("rpc: %w", err)
	}
	return r, nil
}
