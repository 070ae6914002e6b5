package main

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailfarm/mailfarm/internal/pki"
)

// uses are the words of --use.
var uses = map[string]pki.Use{"peer": pki.Peer, "server": pki.Server, "operator": pki.Client}

func newCA() *cobra.Command {
	var dir string
	c := group("ca", "The farm's own certificate authority")
	c.Long = `The farm's own certificate authority: certificates by which processes of the farm prove themselves to each other, and which
operators show at the admin port. Certificates that mail clients see are better bought or had from a public authority.

The authority is two files in --dir: ca.pem, which everybody may have, and ca.key, which nobody else may have. Keep it on one
machine and give each process ca.pem, NAME.pem and NAME.key.`
	c.PersistentFlags().StringVar(&dir, "dir", cmp.Or(os.Getenv("MAILFARM_CA"), "./ca"), "the authority's folder (MAILFARM_CA)")
	c.AddCommand(caInit(&dir), caIssue(&dir), caList(&dir))
	return c
}

func caInit(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:     "init",
		Short:   "Make the authority, unless it is there",
		Example: "  mailfarm ca init --dir /etc/mailfarm/ca",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := pki.Open(*dir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), a.CA())
			return err
		},
	}
}

func caIssue(dir *string) *cobra.Command {
	var hosts []string
	var use string
	c := &cobra.Command{
		Use:   "issue NAME",
		Short: "Make a certificate, unless a good one of that name is there",
		Long: `Make a certificate, unless one of that name is there that names all hosts and is valid for another 30 days: so it may be
called by a timer. A process reads a renewed file by itself.

--use peer      a process of the farm: names of its role's target, such as store
--use server    what clients see
--use operator  a person at the admin port`,
		Example: `  mailfarm ca issue store --host store,localhost
  mailfarm ca issue server --use server --host mail.example.org,mx.example.org
  mailfarm ca issue carol --use operator`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			u, ok := uses[use]
			if !ok {
				return fmt.Errorf("--use %s: it is peer, server or operator", use)
			}
			if strings.ContainsAny(args[0], `/\`) || args[0] == "ca" {
				return fmt.Errorf("%q cannot name a certificate: it becomes the name of files beside ca.pem", args[0])
			}
			if len(hosts) == 0 {
				hosts = []string{args[0]}
			}
			if _, err := os.Stat(pki.Files{Dir: *dir}.CA()); errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("there is no authority in %s: name its folder with --dir, or make one with `mailfarm ca init`", *dir)
			}
			a, err := pki.Open(*dir)
			if err != nil {
				return err
			}
			if _, err := a.Issue(args[0], u, hosts...); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n%s\n", a.Certificate(args[0]), a.Key(args[0]))
			return err
		},
	}
	c.Flags().StringSliceVar(&hosts, "host", nil, "names and addresses under which it is reached (default: its name)")
	c.Flags().StringVar(&use, "use", "peer", "peer, server or operator")
	return c
}

// certificate is one as the list shows it.
type certificate struct {
	Name    string    `json:"name"`
	Use     string    `json:"use"`
	Hosts   []string  `json:"hosts"`
	Expires time.Time `json:"expires"`
}

func caList(dir *string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the certificates in the authority's folder",
		Example: "  mailfarm ca list --dir /etc/mailfarm/ca --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := certificates(*dir)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), all)
			}
			var rows [][]string
			for _, x := range all {
				rows = append(rows, []string{x.Name, x.Use, strings.Join(x.Hosts, " "), x.Expires.Local().Format("2006-01-02")})
			}
			return table(c.OutOrStdout(), "NAME\tUSE\tHOSTS\tEXPIRES", rows)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// certificates reads the certificates of a folder, in the order of their names.
func certificates(dir string) ([]certificate, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil {
		return nil, err
	}
	all := []certificate{}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		block, _ := pem.Decode(content)
		if block == nil {
			return nil, fmt.Errorf("%s holds no certificate", f)
		}
		x, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		hosts := slices.Clone(x.DNSNames)
		for _, ip := range x.IPAddresses {
			hosts = append(hosts, ip.String())
		}
		all = append(all, certificate{Name: strings.TrimSuffix(filepath.Base(f), ".pem"), Use: useOf(x), Hosts: hosts, Expires: x.NotAfter})
	}
	return all, nil
}

func useOf(x *x509.Certificate) string {
	server, client := slices.Contains(x.ExtKeyUsage, x509.ExtKeyUsageServerAuth), slices.Contains(x.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	switch {
	case x.IsCA:
		return "authority"
	case server && client:
		return "peer"
	case client:
		return "operator"
	}
	return "server"
}
