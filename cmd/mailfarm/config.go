package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mailfarm/mailfarm/internal/config"
	"github.com/mailfarm/mailfarm/internal/farm"
)

func newConfig() *cobra.Command {
	c := group("config", "The configuration file")
	c.AddCommand(configPrint(), configCheck())
	return c
}

func configPrint() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "print",
		Short:   "Print the effective configuration, with what differs from the defaults; secrets stand in files, so none shows",
		Example: "  mailfarm config print --config /etc/mailfarm.yaml",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file, "")
			if err != nil {
				return err
			}
			var base farm.Config
			base.Defaults()
			return config.Print(c.OutOrStdout(), cfg, base)
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file")
	return c
}

func configCheck() *cobra.Command {
	return &cobra.Command{
		Use:     "check FILE",
		Short:   "Check a configuration file and name all its faults",
		Example: "  mailfarm config check /etc/mailfarm.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := loadConfig(args[0], ""); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s: good\n", args[0])
			return err
		},
	}
}
