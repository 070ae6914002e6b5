package bus

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/mailfarm/mailfarm/internal/bus/embedded"
)

// Config of the bus.
type Config struct {
	// Servers are NATS URLs; empty embeds a server in the process.
	Servers []string `yaml:"servers"`
	// CredentialsFile is a NATS credentials file (a user's JWT and key); or User and PasswordFile.
	CredentialsFile string `yaml:"credentials_file"`
	User            string `yaml:"user"`
	// PasswordFile holds the password in its first line.
	PasswordFile string `yaml:"password_file"`
	// CAFile is the authority of the servers' certificates; with it the connection is by TLS. CertificateFile and KeyFile
	// are this client's, where the servers ask for one. PEM.
	CAFile          string `yaml:"ca_file"`
	CertificateFile string `yaml:"certificate_file"`
	KeyFile         string `yaml:"key_file"`
	// Listen is a loopback address on which the embedded server also answers, for `nats sub 'trace.>'`. Default none.
	Listen string `yaml:"listen"`
	// Partitions of each work stream. Default 1 embedded, 8 with servers. It may be changed while the farm runs: what the
	// store role was last started with counts.
	Partitions int `yaml:"partitions"`
	// Replicas of each stream. Default 1.
	Replicas int `yaml:"replicas"`
	// MaxAge is how long work may lie on the bus; what is older is found again by recovery and sweep. Default 72h.
	MaxAge time.Duration `yaml:"max_age"`
	// MaxBytes bounds each work stream. Default 2 GiB.
	MaxBytes int64 `yaml:"max_bytes"`
	// TraceMaxAge and TraceMaxBytes bound the history of trace events. Default 72h and 256 MiB.
	TraceMaxAge   time.Duration `yaml:"trace_max_age"`
	TraceMaxBytes int64         `yaml:"trace_max_bytes"`
	// AckWait is after how long without a sign of life work is given to another: what a process that dies costs the
	// messages that it held. Default 10s.
	AckWait time.Duration `yaml:"ack_wait"`
	// MaxAckPending is how much work of one partition may be in hand at once, over all processes. Default 20,000.
	MaxAckPending int `yaml:"max_ack_pending"`
	// PoisonLimit is how often work may panic, or fail to be decoded, before it becomes a dead letter. Default 5.
	PoisonLimit int `yaml:"poison_limit"`
	// PoisonDelay is the wait before such work is tried again; it doubles each time. Default 1s.
	PoisonDelay time.Duration `yaml:"poison_delay"`
}

// Defaults fills in what is not set.
func (c *Config) Defaults() {
	if c.Partitions == 0 {
		c.Partitions = 1
		if len(c.Servers) > 0 {
			c.Partitions = 8
		}
	}
	def(&c.Replicas, 1)
	def(&c.MaxAge, 72*time.Hour)
	def(&c.MaxBytes, 2<<30)
	def(&c.TraceMaxAge, 72*time.Hour)
	def(&c.TraceMaxBytes, 256<<20)
	def(&c.AckWait, 10*time.Second)
	def(&c.MaxAckPending, 20_000)
	def(&c.PoisonLimit, 5)
	def(&c.PoisonDelay, time.Second)
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// maxPartitions bounds the partitions: each has a consumer on every stream.
const maxPartitions = 256

// login are the options by which this process proves itself.
func (c *Config) login() (opts []nats.Option, err error) {
	if c.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(c.CredentialsFile))
	}
	if c.User != "" {
		content, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("password_file: %w", err)
		}
		password, _, _ := strings.Cut(string(content), "\n")
		opts = append(opts, nats.UserInfo(c.User, strings.TrimRight(password, "\r")))
	}
	if c.CAFile != "" {
		opts = append(opts, nats.RootCAs(c.CAFile))
	}
	if c.CertificateFile != "" {
		opts = append(opts, nats.ClientCert(c.CertificateFile, c.KeyFile))
	}
	return opts, nil
}

// Validate tells all faults at once.
func (c *Config) Validate() error {
	var errs []error
	if (c.User == "") != (c.PasswordFile == "") {
		errs = append(errs, errors.New("user and password_file go together"))
	}
	if (c.CertificateFile == "") != (c.KeyFile == "") {
		errs = append(errs, errors.New("certificate_file and key_file go together"))
	}
	if c.Partitions < 1 || c.Partitions > maxPartitions {
		errs = append(errs, fmt.Errorf("partitions: %d is not between 1 and %d", c.Partitions, maxPartitions))
	}
	if c.Replicas < 1 || c.Replicas > 5 || c.Replicas%2 == 0 {
		errs = append(errs, fmt.Errorf("replicas: %d is not 1, 3 or 5", c.Replicas))
	}
	if len(c.Servers) == 0 && c.Replicas > 1 {
		errs = append(errs, fmt.Errorf("replicas: %d needs servers", c.Replicas))
	}
	if c.AckWait < time.Second {
		errs = append(errs, fmt.Errorf("ack_wait: %v is below 1s", c.AckWait))
	}
	if c.Listen != "" {
		if _, _, err := embedded.Loopback(c.Listen); err != nil {
			errs = append(errs, fmt.Errorf("listen: %w", err))
		}
	}
	for key, n := range map[string]int64{"max_bytes": c.MaxBytes, "trace_max_bytes": c.TraceMaxBytes, "max_age": int64(c.MaxAge),
		"trace_max_age": int64(c.TraceMaxAge), "max_ack_pending": int64(c.MaxAckPending), "poison_delay": int64(c.PoisonDelay)} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("%s: %d is negative", key, n))
		}
	}
	if c.PoisonLimit < 1 {
		errs = append(errs, fmt.Errorf("poison_limit: %d is below 1", c.PoisonLimit))
	}
	return errors.Join(errs...)
}
