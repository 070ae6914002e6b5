package otlp

import (
	"errors"
	"fmt"
	"net"
)

// Config says where spans go.
type Config struct {
	// Endpoint is a collector's HOST:PORT for OTLP over gRPC. Default none: nothing is exported.
	Endpoint string `yaml:"endpoint"`
	// Plaintext goes without TLS, as to a collector on this machine. Default false.
	Plaintext bool `yaml:"plaintext"`
	// CAFile is PEM: the authorities of the collector's certificate. Default the system's.
	CAFile string `yaml:"ca_file"`
	// Headers are sent with each export, such as a key that the collector asks for.
	Headers map[string]string `yaml:"headers"`
	// Sample is which share of messages is exported, whole or not at all, by all processes alike. Default 1.
	Sample float64 `yaml:"sample"`
}

// Defaults fills in what is not set.
func (c *Config) Defaults() {
	if c.Sample == 0 {
		c.Sample = 1
	}
}

// Validate tells all faults at once.
func (c *Config) Validate() error {
	if c.Endpoint == "" {
		return nil
	}
	var errs []error
	if _, _, err := net.SplitHostPort(c.Endpoint); err != nil {
		errs = append(errs, fmt.Errorf("endpoint: %w", err))
	}
	if c.Sample < 0 || c.Sample > 1 {
		errs = append(errs, fmt.Errorf("sample: %v is not between 0 and 1", c.Sample))
	}
	return errors.Join(errs...)
}
