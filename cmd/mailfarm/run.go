package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailfarm/mailfarm/internal/config"
	"github.com/mailfarm/mailfarm/internal/farm"
)

func newRun() *cobra.Command {
	var file, data string
	c := &cobra.Command{
		Use:   "run all|ROLE...",
		Short: "Run mailfarm, or some roles of it, as the configuration file says",
		Long: `Run mailfarm, or some roles of it, as the configuration file says.

"all" runs every role in this one process. Without servers in the configuration it embeds bus, index and blob store in the
data folder. Roles by name share the work with other processes: they need NATS (bus), PostgreSQL (database), an S3 server
(blob.s3) and each other (rpc); start as many of each as you like.
The roles are: ` + strings.Join(farm.Roles, ", ") + `.`,
		Example:   "  mailfarm run all --config /etc/mailfarm.yaml\n  mailfarm run ingress filter --config /etc/mailfarm.yaml --data /var/lib/mailfarm/mx",
		Args:      cobra.MinimumNArgs(1),
		ValidArgs: append([]string{farm.All}, farm.Roles...),
		RunE: func(c *cobra.Command, args []string) error {
			shape, err := farm.ShapeOf(args)
			if err != nil {
				return err
			}
			cfg, err := loadConfig(file, data)
			if err != nil {
				return err
			}
			return start(c.Context(), cfg, shape, func(ctx context.Context, f *farm.Farm) error { return f.RefuseDevPasswords(ctx) })
		},
	}
	c.Flags().StringVar(&file, "config", os.Getenv("MAILFARM_CONFIG"), "configuration file (MAILFARM_CONFIG)")
	c.Flags().StringVar(&data, "data", os.Getenv("MAILFARM_DATA"), "data folder, instead of the configuration's (MAILFARM_DATA)")
	return c
}

// loadConfig reads a file, fills in the defaults and checks it.
func loadConfig(file, data string) (farm.Config, error) {
	var cfg farm.Config
	if file != "" {
		if err := config.Load(file, &cfg); err != nil {
			return cfg, err
		}
	}
	if data != "" {
		cfg.Data = data
	}
	cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return cfg, fmt.Errorf("configuration %s:\n%w", file, err)
	}
	return cfg, nil
}
