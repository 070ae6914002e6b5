package main

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

func newDomain() *cobra.Command {
	d := &door{}
	c := group("domain", "Domains whose mail ends here")
	d.flags(c)
	c.AddCommand(domainAdd(d), domainList(d), domainRemove(d))
	return c
}

func domainAdd(d *door) *cobra.Command {
	var catchAll string
	c := &cobra.Command{
		Use:     "add NAME",
		Short:   "Add a domain",
		Example: "  mailfarm domain add example.org\n  mailfarm domain add example.net --catch-all alice@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				req := &directoryv1.AddDomainRequest{Domain: &directoryv1.Domain{Name: args[0], CatchAll: catchAll}}
				if _, err := directoryv1.NewAccountsClient(conn).AddDomain(ctx, req); err != nil {
					return err
				}
				return said(c, d, "added", args[0])
			})
		},
	}
	c.Flags().StringVar(&catchAll, "catch-all", "", "address that receives what has no account or alias")
	return c
}

func domainList(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List domains",
		Example: "  mailfarm domain list --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := directoryv1.NewAccountsClient(conn).ListDomains(ctx, &directoryv1.ListDomainsRequest{})
				if err != nil {
					return err
				}
				type row struct {
					Name     string `json:"name"`
					CatchAll string `json:"catch_all,omitempty"`
				}
				all := make([]row, 0, len(resp.Domains))
				var rows [][]string
				for _, d := range resp.Domains {
					all = append(all, row{d.Name, d.CatchAll})
					rows = append(rows, []string{d.Name, d.CatchAll})
				}
				if d.json {
					return printJSON(c.OutOrStdout(), all)
				}
				return table(c.OutOrStdout(), "DOMAIN\tCATCH-ALL", rows)
			})
		},
	}
}

func domainRemove(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Short:   "Remove a domain that has no accounts any more",
		Example: "  mailfarm domain remove example.net",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				if _, err := directoryv1.NewAccountsClient(conn).RemoveDomain(ctx, &directoryv1.RemoveDomainRequest{Name: args[0]}); err != nil {
					return err
				}
				return said(c, d, "removed", args[0])
			})
		},
	}
}
