package resolve

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Config of the resolver.
type Config struct {
	// Servers are recursive resolvers as "address" or "address:port", asked in this order. Default: those of /etc/resolv.conf.
	Servers []string `yaml:"servers"`
	// Timeout is how long one server has to answer one try. Default 1.5s.
	Timeout time.Duration `yaml:"timeout"`
	// Attempts is how often a question is sent in all, over all servers. Default 3.
	Attempts int `yaml:"attempts"`
	// CacheBytes bounds the cache, in octets of what it holds. Default 16 MiB.
	CacheBytes int `yaml:"cache_bytes"`
	// MinTTL and MaxTTL bound how long an answer is kept, whatever its records say. Default 5s and 24h.
	MinTTL time.Duration `yaml:"min_ttl"`
	MaxTTL time.Duration `yaml:"max_ttl"`
	// NegativeTTL bounds from above how long the absence of a name is kept. Default 15m.
	NegativeTTL time.Duration `yaml:"negative_ttl"`
	// FailureTTL is how long a failure is kept (RFC 9520 §3.2: 1s to 5m). Default 5s.
	FailureTTL time.Duration `yaml:"failure_ttl"`
	// InFlight bounds the questions under way; further ones wait. Default 256.
	InFlight int `yaml:"in_flight"`
	// TrustAD believes the AD bit of servers that are not on the loopback: only where the way to them is safe (RFC 4035 §4.9.3).
	TrustAD bool `yaml:"trust_ad"`
}

// Bounds of a configuration.
const (
	maxAttempts = 10
	maxInFlight = 4096
)

// resolvConf is where the system names its resolvers.
const resolvConf = "/etc/resolv.conf"

// Defaults fills in what is not set; Servers stays empty for the system's.
func (c *Config) Defaults() {
	setDefault(&c.Timeout, 1500*time.Millisecond)
	setDefault(&c.Attempts, 3)
	setDefault(&c.CacheBytes, 16<<20)
	setDefault(&c.MinTTL, 5*time.Second)
	setDefault(&c.MaxTTL, 24*time.Hour)
	setDefault(&c.NegativeTTL, 15*time.Minute)
	setDefault(&c.FailureTTL, 5*time.Second)
	setDefault(&c.InFlight, 256)
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate tells all faults at once, naming the key.
func (c *Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, s := range c.Servers {
		if _, err := serverAddr(s); err != nil {
			fault("servers: %w", err)
		}
	}
	if c.Timeout < 10*time.Millisecond {
		fault("timeout: %v is below 10ms", c.Timeout)
	}
	if c.Attempts < 1 || c.Attempts > maxAttempts {
		fault("attempts: %d is not between 1 and %d", c.Attempts, maxAttempts)
	}
	if c.CacheBytes < 0 {
		fault("cache_bytes: %d is negative", c.CacheBytes)
	}
	if c.MinTTL < 0 || c.MaxTTL < c.MinTTL {
		fault("max_ttl: %v is below min_ttl %v", c.MaxTTL, c.MinTTL)
	}
	if c.NegativeTTL < 0 {
		fault("negative_ttl: %v is negative", c.NegativeTTL)
	}
	if c.FailureTTL < 0 || c.FailureTTL > 5*time.Minute {
		fault("failure_ttl: %v is not between 0s and 5m", c.FailureTTL)
	}
	if c.InFlight < 1 || c.InFlight > maxInFlight {
		fault("in_flight: %d is not between 1 and %d", c.InFlight, maxInFlight)
	}
	return errors.Join(faults...)
}

// server is a recursive resolver.
type server struct {
	addr string
	// secure tells that its AD bit is believed.
	secure bool
}

func (c *Config) servers() ([]server, error) {
	names := c.Servers
	if len(names) == 0 {
		sys, err := dns.ClientConfigFromFile(resolvConf)
		if err != nil {
			return nil, fmt.Errorf("find the system's resolvers: %w", err)
		}
		for _, s := range sys.Servers {
			names = append(names, net.JoinHostPort(s, sys.Port))
		}
	}
	if len(names) == 0 {
		names = []string{"127.0.0.1"} // resolv.conf(5): without a nameserver line it is the local machine
	}
	var servers []server
	for _, n := range names {
		addr, err := serverAddr(n)
		if err != nil {
			return nil, fmt.Errorf("servers: %w", err)
		}
		host, _, _ := net.SplitHostPort(addr)
		ip, err := netip.ParseAddr(host)
		servers = append(servers, server{addr: addr, secure: c.TrustAD || err == nil && ip.IsLoopback()})
	}
	return servers, nil
}

// serverAddr adds the port where there is none.
func serverAddr(s string) (string, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return net.JoinHostPort(ip.String(), "53"), nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || port == "" {
		return "", fmt.Errorf("%q is not an address or address:port", s)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		return "", fmt.Errorf("%q: a resolver is named by its IP address", s)
	}
	return s, nil
}
