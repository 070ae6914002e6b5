package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailfarm/mailfarm/internal/farm"
)

func newSetup() *cobra.Command {
	var file string
	var first farm.First
	var aliases []string
	password := &passwordSource{}
	c := &cobra.Command{
		Use:   "setup",
		Short: "Prepare what the processes of a farm share, and bring it up to date",
		Long: `Prepare what the processes of a farm share, and bring it up to date: the schema in PostgreSQL, the S3 bucket, the
streams of NATS, and the first domains, accounts and aliases. Run it once before the first start, and with a new version before
its processes start; doing it again changes nothing else. Servers that are away are waited for as long as start_timeout says.`,
		Example: `  mailfarm setup --config /etc/mailfarm.yaml
  mailfarm setup --config /etc/mailfarm.yaml --domain example.org --account alice@example.org --password-file first.txt \
      --alias postmaster=alice@example.org
  mailfarm setup --config /etc/mailfarm.yaml --restored "snapshot of Tuesday"`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file, "")
			if err != nil {
				return err
			}
			if len(first.Accounts) > 0 {
				if password.file == "" {
					return errors.New("--account needs --password-file: it holds the accounts' first password")
				}
				if first.Password, err = password.read(c.InOrStdin()); err != nil {
					return err
				}
			}
			if first.Aliases, err = aliasesOf(aliases); err != nil {
				return err
			}
			log, err := cfg.Log.Logger(os.Stderr)
			if err != nil {
				return err
			}
			return farm.SetUp(c.Context(), cfg, first, log, func(format string, args ...any) {
				fmt.Fprintf(c.OutOrStdout(), format+"\n", args...)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&file, "config", os.Getenv("MAILFARM_CONFIG"), "configuration file (MAILFARM_CONFIG)")
	f.StringSliceVar(&first.Domains, "domain", nil, "a domain to add, if it is not there")
	f.StringSliceVar(&first.Accounts, "account", nil, "an account to add, if it is not there")
	f.StringArrayVar(&aliases, "alias", nil, "ADDRESS=TARGET,TARGET: an alias to set")
	f.StringVar(&first.Restored, "restored", "", "the database was restored, from what: UIDs and MODSEQs jump, so that none is given twice")
	password.flag(c)
	return c
}

func aliasesOf(texts []string) (map[string][]string, error) {
	all := map[string][]string{}
	for _, text := range texts {
		address, targets, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("--alias %s: it is ADDRESS=TARGET,TARGET", text)
		}
		all[address] = strings.Split(targets, ",")
	}
	return all, nil
}
