package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailfarm/mailfarm/internal/config"
	"github.com/mailfarm/mailfarm/internal/farm"
)

func newRun() *cobra.Command {
	var file, data string
	c := &cobra.Command{
		Use:   "run all",
		Short: "Run mailfarm as the configuration file says",
		Long: `Run mailfarm as the configuration file says.

"all" runs every role in this one process, with embedded bus, index and blob store in the data folder.
The roles are: ` + strings.Join(farm.Roles, ", ") + `.`,
		Example:   "  mailfarm run all --config /etc/mailfarm.yaml",
		Args:      cobra.MinimumNArgs(1),
		ValidArgs: append([]string{"all"}, farm.Roles...),
		RunE: func(c *cobra.Command, args []string) error {
			if err := checkRoles(args); err != nil {
				return err
			}
			cfg, err := loadConfig(file, data)
			if err != nil {
				return err
			}
			return start(c.Context(), cfg, func(ctx context.Context, f *farm.Farm) error { return f.RefuseDevPasswords(ctx) })
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file")
	c.Flags().StringVar(&data, "data", "", "data folder, instead of the configuration's")
	return c
}

// checkRoles refuses what cannot be run: one process holds the data folder, so roles apart need a farm's infrastructure.
func checkRoles(roles []string) error {
	if slices.Equal(roles, []string{"all"}) {
		return nil
	}
	for _, r := range roles {
		if r != "all" && !slices.Contains(farm.Roles, r) {
			return fmt.Errorf("no role is called %q: they are %s, or all of them with \"all\"", r, strings.Join(farm.Roles, ", "))
		}
	}
	return errors.New("roles apart from each other need NATS, PostgreSQL and S3, which this version cannot use yet: several processes cannot share one SQLite file or blob directory; use `mailfarm run all`")
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
