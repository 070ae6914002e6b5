package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

func newAlias() *cobra.Command {
	d := &door{}
	c := group("alias", "Aliases: addresses that stand for others")
	d.flags(c)
	c.AddCommand(aliasSet(d), aliasList(d), aliasRemove(d))
	return c
}

func aliasSet(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "set ADDRESS TARGET…",
		Aliases: []string{"add"},
		Short:   "Make an address stand for one or several others; a bare name holds in every domain",
		Example: "  mailfarm alias set sales@example.org alice@example.org bob@example.org\n  mailfarm alias set postmaster alice@example.org",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				req := &directoryv1.SetAliasRequest{Alias: &directoryv1.Alias{Address: args[0], Targets: args[1:]}}
				if _, err := directoryv1.NewAccountsClient(conn).SetAlias(ctx, req); err != nil {
					return err
				}
				return said(c, d, "stands for "+strings.Join(args[1:], ", "), args[0])
			})
		},
	}
}

func aliasList(d *door) *cobra.Command {
	var domain string
	c := &cobra.Command{
		Use:     "list",
		Short:   "List aliases",
		Example: "  mailfarm alias list --domain example.org",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := directoryv1.NewAccountsClient(conn).ListAliases(ctx, &directoryv1.ListAliasesRequest{Domain: domain})
				if err != nil {
					return err
				}
				type row struct {
					Address string   `json:"address"`
					Targets []string `json:"targets"`
				}
				all := make([]row, 0, len(resp.Aliases))
				var rows [][]string
				for _, a := range resp.Aliases {
					all = append(all, row{a.Address, a.Targets})
					rows = append(rows, []string{a.Address, strings.Join(a.Targets, ", ")})
				}
				if d.json {
					return printJSON(c.OutOrStdout(), all)
				}
				return table(c.OutOrStdout(), "ADDRESS\tSTANDS FOR", rows)
			})
		},
	}
	c.Flags().StringVar(&domain, "domain", "", "only aliases of this domain")
	return c
}

func aliasRemove(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "remove ADDRESS",
		Short:   "Remove an alias",
		Example: "  mailfarm alias remove sales@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				if _, err := directoryv1.NewAccountsClient(conn).RemoveAlias(ctx, &directoryv1.RemoveAliasRequest{Address: args[0]}); err != nil {
					return err
				}
				return said(c, d, "removed", args[0])
			})
		},
	}
}
