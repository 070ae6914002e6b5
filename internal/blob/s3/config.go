package s3

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob"
)

// Config of the bucket.
type Config struct {
	// Endpoint is where the S3 server is: "https://s3.example.org", "http://127.0.0.1:7070". Without a scheme it is https.
	// Default none: blobs lie in a directory.
	Endpoint string `yaml:"endpoint"`
	// Region is the bucket's. Default us-east-1.
	Region string `yaml:"region"`
	// Bucket must exist.
	Bucket string `yaml:"bucket"`
	// Prefix is put before all keys. Default "blob/".
	Prefix string `yaml:"prefix"`
	// AccessKey and SecretKey sign the requests; AccessKeyFile and SecretKeyFile hold them instead.
	AccessKey     string `yaml:"access_key"`
	SecretKey     string `yaml:"secret_key"`
	AccessKeyFile string `yaml:"access_key_file"`
	SecretKeyFile string `yaml:"secret_key_file"`
	// VirtualHost has the bucket's name in the host's instead of the path. Default false.
	VirtualHost bool `yaml:"virtual_host"`
	// CAFile is PEM: the authorities that the server's certificate may come from. Default the system's.
	CAFile string `yaml:"ca_file"`

	// SegmentBytes is how much a segment holds before it is written; one frame may be longer. At most 64 MiB. Default 4 MiB.
	SegmentBytes int64 `yaml:"segment_bytes"`
	// SegmentTime is the least time between two segments under load that are not full. An idle store waits for nothing.
	// Default 25ms.
	SegmentTime time.Duration `yaml:"segment_time"`
	// Threshold is the largest body that lies in a segment, octets. Default 256 KiB.
	Threshold int `yaml:"threshold"`
	// Parallel is how many segments, and how many parts of large bodies, are under way at once. At most 64. Default 4.
	Parallel int `yaml:"parallel"`
	// PartSize is how much of a large body one part holds, octets; 5 MiB or more. Default 8 MiB.
	PartSize int64 `yaml:"part_size"`
	// MaxWaitingBytes is how many octets of frames may wait for the server; beyond it commits fail. Default 64 MiB.
	MaxWaitingBytes int64 `yaml:"max_waiting_bytes"`

	// ConnectTimeout bounds a connection's making. Default 2s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// RequestTimeout bounds one request, to which a second is added for each MiB. Default 5s.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// RetryFor is for how long a write or read is tried again. Default 15s.
	RetryFor time.Duration `yaml:"retry_for"`
	// Heartbeat is the time between two signs of life. Default 15s.
	Heartbeat time.Duration `yaml:"heartbeat"`
	// DeadAfter is how long a reader sees no sign of life before it seals an incarnation. Default 60s.
	DeadAfter time.Duration `yaml:"dead_after"`

	// CacheBytes is how much of what was written and read last is kept in memory. Negative: nothing. Default 64 MiB.
	CacheBytes int64 `yaml:"cache_bytes"`
	// ReadAhead is how much of a large body is fetched at once when it is read in order. Default 1 MiB.
	ReadAhead int64 `yaml:"read_ahead"`
	// Spool is a folder for large bodies while they arrive. Default mailfarm-spool in the system's folder for temporary files.
	Spool string `yaml:"spool"`
}

const (
	maxSegmentBytes = 64 << 20
	maxParallel     = 64
	minPartSize     = 5 << 20
)

// Defaults fills in what is not set.
func (c *Config) Defaults() {
	def(&c.Region, "us-east-1")
	def(&c.Prefix, "blob/")
	def(&c.SegmentBytes, 4<<20)
	def(&c.SegmentTime, 25*time.Millisecond)
	def(&c.Threshold, blob.SpoolMemory)
	def(&c.Parallel, 4)
	def(&c.PartSize, 8<<20)
	def(&c.MaxWaitingBytes, 64<<20)
	def(&c.ConnectTimeout, 2*time.Second)
	def(&c.RequestTimeout, 5*time.Second)
	def(&c.RetryFor, 15*time.Second)
	def(&c.Heartbeat, 15*time.Second)
	def(&c.DeadAfter, time.Minute)
	def(&c.CacheBytes, 64<<20)
	def(&c.ReadAhead, 1<<20)
	def(&c.Spool, filepath.Join(os.TempDir(), "mailfarm-spool"))
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Validate tells all faults at once, naming their keys. Call Defaults before. An empty endpoint is no fault.
func (c *Config) Validate() error {
	if c.Endpoint == "" {
		return nil
	}
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, err := c.url(); err != nil {
		fault("endpoint: %w", err)
	}
	if c.Bucket == "" {
		fault("bucket: missing")
	}
	if strings.HasPrefix(c.Prefix, "/") || !strings.HasSuffix(c.Prefix, "/") {
		fault("prefix: %q must end with a slash and not begin with one", c.Prefix)
	}
	for _, key := range []struct{ name, value, file string }{
		{"access_key", c.AccessKey, c.AccessKeyFile}, {"secret_key", c.SecretKey, c.SecretKeyFile},
	} {
		if (key.value == "") == (key.file == "") {
			fault("%s: give it or %s_file", key.name, key.name)
		}
	}
	for _, n := range []struct {
		name             string
		value, low, high int64
	}{
		{"segment_bytes", c.SegmentBytes, 1, maxSegmentBytes},
		{"threshold", int64(c.Threshold), 1, maxSegmentBytes},
		{"parallel", int64(c.Parallel), 1, maxParallel},
		{"part_size", c.PartSize, minPartSize, 1 << 30},
		{"max_waiting_bytes", c.MaxWaitingBytes, 1 << 20, 1 << 40},
		{"read_ahead", c.ReadAhead, 64 << 10, 64 << 20},
	} {
		if n.value < n.low || n.value > n.high {
			fault("%s: %d is not between %d and %d", n.name, n.value, n.low, n.high)
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"segment_time", c.SegmentTime}, {"connect_timeout", c.ConnectTimeout}, {"request_timeout", c.RequestTimeout},
		{"retry_for", c.RetryFor}, {"heartbeat", c.Heartbeat},
	} {
		if d.value <= 0 {
			fault("%s: %v is not a time to wait", d.name, d.value)
		}
	}
	if c.DeadAfter < 2*c.Heartbeat {
		fault("dead_after: %v is less than two heartbeats of %v", c.DeadAfter, c.Heartbeat)
	}
	return errors.Join(errs...)
}

// url is the endpoint's.
func (c *Config) url() (*url.URL, error) {
	endpoint := c.Endpoint
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil:
		return nil, fmt.Errorf("%q is not a server's address", c.Endpoint)
	}
	return u, nil
}

// keys are what requests are signed with.
func (c *Config) keys() (access, secret string, err error) {
	if access, err = valueOrFile(c.AccessKey, c.AccessKeyFile); err != nil {
		return "", "", fmt.Errorf("access_key_file: %w", err)
	}
	if secret, err = valueOrFile(c.SecretKey, c.SecretKeyFile); err != nil {
		return "", "", fmt.Errorf("secret_key_file: %w", err)
	}
	return access, secret, nil
}

func valueOrFile(value, file string) (string, error) {
	if file == "" {
		return value, nil
	}
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}
