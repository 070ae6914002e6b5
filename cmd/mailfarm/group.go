package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

func newGroup() *cobra.Command {
	d := &door{}
	c := group("group", "Groups: accounts that mailboxes are shared with together")
	d.flags(c)
	c.AddCommand(groupAdd(d), groupList(d), groupRemove(d))
	return c
}

func groupAdd(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "add NAME [ADDRESS…]",
		Short:   "Make a group, and add accounts to it",
		Example: "  mailfarm group add staff alice@example.org bob@example.org",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				req := &directoryv1.AddToGroupRequest{Name: args[0], Members: args[1:]}
				if _, err := directoryv1.NewGroupsClient(conn).AddToGroup(ctx, req); err != nil {
					return err
				}
				return said(c, d, strings.TrimSpace("has "+strings.Join(args[1:], ", ")), args[0])
			})
		},
	}
}

func groupRemove(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME [ADDRESS…]",
		Short:   "Take accounts out of a group, or remove the whole group",
		Example: "  mailfarm group remove staff bob@example.org\n  mailfarm group remove staff",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				req := &directoryv1.RemoveFromGroupRequest{Name: args[0], Members: args[1:]}
				if _, err := directoryv1.NewGroupsClient(conn).RemoveFromGroup(ctx, req); err != nil {
					return err
				}
				return said(c, d, strings.TrimSpace("removed "+strings.Join(args[1:], ", ")), args[0])
			})
		},
	}
}

func groupList(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List groups with their members",
		Example: "  mailfarm group list\n  mailfarm group list --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := directoryv1.NewGroupsClient(conn).ListGroups(ctx, &directoryv1.ListGroupsRequest{})
				if err != nil {
					return err
				}
				type row struct {
					Name    string   `json:"name"`
					Members []string `json:"members"`
				}
				all := make([]row, 0, len(resp.Groups))
				var rows [][]string
				for _, g := range resp.Groups {
					all = append(all, row{g.Name, append([]string{}, g.Members...)})
					rows = append(rows, []string{g.Name, strings.Join(g.Members, ", ")})
				}
				if d.json {
					return printJSON(c.OutOrStdout(), all)
				}
				return table(c.OutOrStdout(), "GROUP\tMEMBERS", rows)
			})
		},
	}
}
