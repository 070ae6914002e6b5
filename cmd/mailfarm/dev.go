package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mailfarm/mailfarm/internal/config"
	"github.com/mailfarm/mailfarm/internal/farm"
)

type devFlags struct {
	data, config, dns, bus string
	offset                 int
	plaintext              bool
}

func newDev() *cobra.Command {
	o := &devFlags{}
	c := &cobra.Command{
		Use:   "dev",
		Short: "Start everything in one process on loopback, ready to try",
		Long: `Start everything in one process on loopback, ready to try.

The first start makes a private certificate authority, the domain example.org, the accounts alice@example.org and
bob@example.org with the password ` + farm.DevPassword + `, and lets postmaster and abuse stand for alice.
All data is kept in --data: a later start finds it again.`,
		Example: "  mailfarm dev\n  mailfarm dev --data /tmp/try --port-offset 10000",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return runDev(c.Context(), o, c.OutOrStdout()) },
	}
	f := c.Flags()
	f.StringVar(&o.data, "data", "./data", "folder for all data")
	f.IntVar(&o.offset, "port-offset", 0, "added to every port")
	f.BoolVar(&o.plaintext, "plaintext-login", false, "accept passwords without TLS from loopback, for measuring")
	f.StringVar(&o.dns, "dns", "", "resolver HOST:PORT (default: the system's)")
	f.StringVar(&o.bus, "bus-listen", "", "loopback address on which the embedded NATS server answers too, for nats sub 'trace.>'")
	f.StringVar(&o.config, "config", "", "configuration file with further settings")
	return c
}

func (o *devFlags) load() (farm.Config, error) {
	var cfg farm.Config
	if o.config != "" {
		if err := config.Load(o.config, &cfg); err != nil {
			return cfg, err
		}
	}
	cfg.Data = o.data
	cfg.Hostname = "localhost"
	cfg.Listen(farm.DevPorts(o.offset))
	if o.plaintext {
		cfg.AllowPlaintextLogin()
	}
	if o.dns != "" {
		cfg.DNS.Servers = []string{o.dns}
	}
	if o.bus != "" {
		cfg.Bus.Listen = o.bus
	}
	cfg.Defaults()
	return cfg, cfg.Validate()
}

func runDev(ctx context.Context, o *devFlags, out io.Writer) error {
	cfg, err := o.load()
	if err != nil {
		return err
	}
	return start(ctx, cfg, farm.Whole, func(ctx context.Context, f *farm.Farm) error {
		if _, err := f.Seed(ctx); err != nil {
			return fmt.Errorf("make the first accounts: %w", err)
		}
		return greet(out, cfg, farm.DevPorts(o.offset))
	})
}

// start builds a farm, prepares it and runs it until it is told to end.
func start(ctx context.Context, cfg farm.Config, shape farm.Shape, prepare func(context.Context, *farm.Farm) error) error {
	log, err := cfg.Log.Logger(os.Stderr)
	if err != nil {
		return err
	}
	f, err := farm.New(ctx, cfg, shape, version, log)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := prepare(ctx, f); err != nil {
		return err
	}
	return f.Run(ctx)
}

// greet says how to connect, with lines that can be copied.
func greet(w io.Writer, cfg farm.Config, p farm.Ports) error {
	data := cfg.Data
	ca := filepath.Join(data, "tls", "ca.pem")
	_, err := fmt.Fprintf(w, `mailfarm %s: everything in one process, on loopback. Ctrl-C ends it; the data stays in %s.

  accounts     alice@example.org, bob@example.org      password %s
  SMTP (MX)    localhost:%d            LMTP localhost:%d
  submission   localhost:%d STARTTLS   localhost:%d TLS
  IMAP         localhost:%d STARTTLS   localhost:%d TLS
  POP3         localhost:%d STLS       localhost:%d TLS
  HTTP         http://localhost:%d/readyz  /metrics
  CA           %s

Send a mail to alice, as another server would:
  swaks --server localhost:%d --from someone@example.net --to alice@example.org

Send one as bob, and read alice's:
  swaks --server localhost:%d --tls --auth PLAIN --auth-user bob@example.org --auth-password %s \
        --from bob@example.org --to alice@example.org
  curl --cacert %s -u alice@example.org:%s 'imaps://localhost:%d/INBOX;MAILINDEX=1'

Follow it:
  mailfarm trace --rcpt alice@example.org --data %s
`, version, data, farm.DevPassword, p.SMTP, p.LMTP, p.Submission, p.SubmissionTLS, p.IMAP, p.IMAPTLS, p.POP3, p.POP3TLS, p.HTTP, ca,
		p.SMTP, p.Submission, farm.DevPassword, ca, farm.DevPassword, p.IMAPTLS, data)
	return err
}
