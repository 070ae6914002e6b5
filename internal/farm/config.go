// Package farm is the composition root: it opens the infrastructure that the configuration names and builds the roles on
// it, by ordinary calls in reading order. It is the only package that knows every role.
package farm

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mailfarm/mailfarm/internal/blob/s3"
	"github.com/mailfarm/mailfarm/internal/bus"
	"github.com/mailfarm/mailfarm/internal/certs"
	"github.com/mailfarm/mailfarm/internal/limits"
	"github.com/mailfarm/mailfarm/internal/otlp"
	"github.com/mailfarm/mailfarm/internal/pgdb"
	"github.com/mailfarm/mailfarm/internal/reclaim"
	"github.com/mailfarm/mailfarm/internal/resolve"
	"github.com/mailfarm/mailfarm/internal/rpc"
	"github.com/mailfarm/mailfarm/services/delivery/local"
	"github.com/mailfarm/mailfarm/services/delivery/remote"
	"github.com/mailfarm/mailfarm/services/directory"
	"github.com/mailfarm/mailfarm/services/filter"
	imapsvc "github.com/mailfarm/mailfarm/services/imap"
	"github.com/mailfarm/mailfarm/services/ingress"
	pop3svc "github.com/mailfarm/mailfarm/services/pop3"
	"github.com/mailfarm/mailfarm/services/router"
	"github.com/mailfarm/mailfarm/services/store"
	"github.com/mailfarm/mailfarm/services/submission"
)

// Config is the whole configuration file.
type Config struct {
	// Hostname is the name that this server greets with and signs as. Default: the machine's.
	Hostname string `yaml:"hostname"`
	// Data is the folder that holds everything. Default ./data.
	Data string `yaml:"data"`
	// TLS is the certificate that clients see.
	TLS TLSConfig `yaml:"tls"`
	// HTTP is where /healthz, /readyz and /metrics are answered. Default 127.0.0.1:2080; "none": nowhere.
	HTTP string `yaml:"http"`
	// Admin is the operator's port, beside the socket in the data folder.
	Admin AdminConfig `yaml:"admin"`
	Log   LogConfig   `yaml:"log"`
	Drain DrainConfig `yaml:"drain"`

	// StartTimeout is how long servers that are away are waited for at the start. Default 2m.
	StartTimeout time.Duration `yaml:"start_timeout"`

	DNS  resolve.Config `yaml:"dns"`
	Bus  bus.Config     `yaml:"bus"`
	Blob BlobConfig     `yaml:"blob"`
	// Database is PostgreSQL, which several processes share. Default none: SQLite in the data folder.
	Database pgdb.Config `yaml:"database"`
	RPC      rpc.Config  `yaml:"rpc"`

	// OTLP shows the way of each message to an OpenTelemetry collector.
	OTLP otlp.Config `yaml:"otlp"`

	// Limits hold over all processes together; those of the roles hold for each.
	Limits limits.Config `yaml:"limits"`

	Directory directory.Config   `yaml:"directory"`
	Store     store.Config       `yaml:"store"`
	Ledger    store.LedgerConfig `yaml:"ledger"`
	Reclaim   reclaim.Config     `yaml:"reclaim"`
	// Search is the full-text index.
	Search     SearchConfig      `yaml:"search"`
	Filter     filter.Config     `yaml:"filter"`
	Router     router.Config     `yaml:"router"`
	Local      local.Config      `yaml:"delivery_local"`
	Remote     remote.Config     `yaml:"delivery_remote"`
	Ingress    ingress.Config    `yaml:"ingress"`
	Submission submission.Config `yaml:"submission"`
	IMAP       imapsvc.Config    `yaml:"imap"`
	POP3       pop3svc.Config    `yaml:"pop3"`
}

// TLSConfig names the files of the certificate.
type TLSConfig struct {
	// CertificateFile and KeyFile are PEM. Default: a certificate of a private authority, made in the data folder.
	CertificateFile string `yaml:"certificate_file"`
	KeyFile         string `yaml:"key_file"`
	// More are further certificates: clients that ask for a name of theirs get them.
	More []certs.Pair `yaml:"more"`
}

// AdminConfig of the operator's port, which wants client certificates of CAFile.
type AdminConfig struct {
	// Listen is an address as "127.0.0.1:2090". Default none: only the socket in the data folder.
	Listen string `yaml:"listen"`
	// CAFile, CertificateFile and KeyFile are PEM. Default: the private authority's in the data folder.
	CAFile          string `yaml:"ca_file"`
	CertificateFile string `yaml:"certificate_file"`
	KeyFile         string `yaml:"key_file"`
}

// LogConfig of the process's log, which goes to standard error.
type LogConfig struct {
	// Level is debug, info, warn or error. Default info.
	Level string `yaml:"level"`
	// Format is text or json. Default text.
	Format string `yaml:"format"`
}

// BlobConfig of the blob store.
type BlobConfig struct {
	// S3 is the server that keeps the blobs. Default none: they lie in the data folder.
	S3 s3.Config `yaml:"s3"`
	// SegmentBytes is how long a segment gets before the next is begun. Default 64 MiB.
	SegmentBytes int64 `yaml:"segment_bytes"`
}

// Defaults fills in what is not set, here and in all roles.
func (c *Config) Defaults() {
	if c.Hostname == "" {
		c.Hostname, _ = os.Hostname()
	}
	def(&c.Data, "./data")
	def(&c.HTTP, "127.0.0.1:2080")
	def(&c.StartTimeout, 2*time.Minute)
	def(&c.Log.Level, "info")
	def(&c.Log.Format, "text")
	def(&c.Blob.SegmentBytes, 64<<20)
	c.noteDrains()
	c.Blob.S3.Defaults()
	c.Database.Defaults()
	c.DNS.Defaults()
	c.Bus.Defaults()
	c.OTLP.Defaults()
	c.Limits.Defaults()
	c.Router.Defaults()
	c.Local.Defaults()
	def(&c.Remote.Hostname, c.Hostname)
	c.Remote.Defaults()
	c.Directory.Defaults()
	c.Store.Default()
	c.Ledger.Default()
	c.Reclaim.Default()
	c.Search.Defaults()
	def(&c.Ingress.Hostname, c.Hostname)
	c.Ingress.Defaults()
	def(&c.Submission.Hostname, c.Hostname)
	c.Submission.Defaults()
	def(&c.Filter.AuthservID, c.Hostname)
	c.Filter.Defaults()
	c.IMAP.Defaults()
	c.POP3.Defaults()
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// none turns a listener off.
const none = "none"

// Validate tells all faults at once, naming their keys. Call Defaults before.
func (c *Config) Validate() error {
	var errs []error
	if c.Hostname == "" || strings.ContainsAny(c.Hostname, " \t\r\n<>") {
		errs = append(errs, fmt.Errorf("hostname: %q is not a host name", c.Hostname))
	}
	if (c.TLS.CertificateFile == "") != (c.TLS.KeyFile == "") {
		errs = append(errs, errors.New("tls: certificate_file and key_file go together"))
	}
	errs = append(errs, certs.Validate("tls.more", c.TLS.More))
	for key, addr := range map[string]string{"http": c.HTTP, "admin.listen": c.Admin.Listen} {
		if _, _, err := net.SplitHostPort(addr); err != nil && addr != "" && addr != none {
			errs = append(errs, fmt.Errorf("%s: %q is not an address and port", key, addr))
		}
	}
	if _, err := c.Log.level(); err != nil {
		errs = append(errs, err)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		errs = append(errs, fmt.Errorf("log.format: %q is neither text nor json", c.Log.Format))
	}
	for _, p := range []struct {
		key string
		err error
	}{
		{"drain", c.Drain.validate()}, {"bus", c.Bus.Validate()}, {"database", c.Database.Validate()}, {"blob.s3", c.Blob.S3.Validate()},
		{"otlp", c.OTLP.Validate()}, {"limits", c.Limits.Validate()}, {"rpc", c.RPC.Validate()}, {"dns", c.DNS.Validate()}, {"directory", c.Directory.Validate()},
		{"store", c.Store.Validate()}, {"ledger", c.Ledger.Validate()}, {"reclaim", c.Reclaim.Validate()}, {"search", c.Search.Validate()},
		{"filter", c.Filter.Validate()}, {"router", c.Router.Validate()}, {"delivery_local", c.Local.Validate()},
		{"delivery_remote", c.Remote.Validate()}, {"ingress", c.Ingress.Validate()}, {"submission", c.Submission.Validate()},
		{"imap", c.IMAP.Validate()}, {"pop3", c.POP3.Validate()},
	} {
		if p.err != nil {
			errs = append(errs, under(p.key, p.err)...)
		}
	}
	// The ledger's row is what keeps a message that the bus brings again from being delivered again.
	if least := c.Bus.MaxAge + time.Hour; c.Ledger.PruneAfter <= least {
		errs = append(errs, fmt.Errorf("ledger.prune_after: %v is not above bus.max_age (%v) and an hour: the bus could bring a message again whose rows are gone",
			c.Ledger.PruneAfter, c.Bus.MaxAge))
	}
	return errors.Join(errs...)
}

// under puts a section's name before each of its faults.
func under(section string, err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{fmt.Errorf("%s.%w", section, err)}
	}
	var errs []error
	for _, e := range joined.Unwrap() {
		errs = append(errs, under(section, e)...)
	}
	return errs
}
