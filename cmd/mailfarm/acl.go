package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

const aclLong = `Who may do what with mailboxes that are not theirs (RFC 4314).

MAILBOX "" is the whole account: what its list gives holds in every mailbox, also in those made later.
IDENTIFIER is an address, group:NAME, anyone or authenticated; with "-" before it (behind "--") it takes rights away.
RIGHTS are letters: l list, r read, s keep \Seen, w other flags, i insert, p post, k make mailboxes below, x delete the
mailbox, t mark as deleted, e expunge, a administer. "all" is all of them; +RIGHTS adds, and -RIGHTS takes some away.`

func newACL() *cobra.Command {
	d := &door{}
	c := group("acl", "Access control lists: what others may do with somebody's mailboxes")
	c.Long = aclLong
	d.flags(c)
	c.AddCommand(aclList(d), aclSet(d), aclDelete(d))
	return c
}

func newShare() *cobra.Command {
	d := &door{}
	c := group("share", "What is shared with whom")
	d.flags(c)
	c.AddCommand(shareList(d))
	return c
}

// ownerID finds the id of an account.
func ownerID(ctx context.Context, conn *grpc.ClientConn, address string) (uint64, error) {
	resp, err := directoryv1.NewIdentitiesClient(conn).Identify(ctx, &directoryv1.IdentifyRequest{Addresses: []string{address}})
	if err != nil {
		return 0, err
	}
	if len(resp.ByAddress) != 1 || resp.ByAddress[0].Account == 0 {
		return 0, fmt.Errorf("there is no account %s; see: mailfarm account list", address)
	}
	return resp.ByAddress[0].Account, nil
}

// aclRow is an entry as it is printed.
type aclRow struct {
	Mailbox    string `json:"mailbox"`
	Identifier string `json:"identifier"`
	Rights     string `json:"rights"`
}

func aclList(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "list ACCOUNT [MAILBOX]",
		Short:   "List who has which rights in an account's mailboxes, or in one",
		Example: "  mailfarm acl list alice@example.org\n  mailfarm acl list alice@example.org Work --json",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				id, err := ownerID(ctx, conn, args[0])
				if err != nil {
					return err
				}
				req := &storev1.GetACLRequest{Account: id, All: len(args) == 1}
				if len(args) == 2 {
					req.Mailbox = args[1]
				}
				resp, err := storev1.NewSharingClient(conn).GetACL(ctx, req)
				if err != nil {
					return ofFolder(err, args[0], req.Mailbox)
				}
				all := make([]aclRow, 0, len(resp.Entries))
				var rows [][]string
				for _, e := range resp.Entries {
					box := e.Mailbox
					if !req.All {
						box = req.Mailbox
					}
					all = append(all, aclRow{box, e.Identifier, e.Rights})
					if box == "" {
						box = "(all)"
					}
					rows = append(rows, []string{box, e.Identifier, e.Rights})
				}
				if d.json {
					return printJSON(c.OutOrStdout(), all)
				}
				return table(c.OutOrStdout(), "MAILBOX\tWHO\tRIGHTS", rows)
			})
		},
	}
}

func aclSet(d *door) *cobra.Command {
	return &cobra.Command{
		Use:   "set ACCOUNT MAILBOX IDENTIFIER RIGHTS",
		Short: "Give somebody rights in a mailbox",
		Long:  aclLong,
		Example: "  mailfarm acl set alice@example.org Work bob@example.org lrs\n" +
			"  mailfarm acl set sales@example.org \"\" group:staff all\n" +
			"  mailfarm acl set alice@example.org Work group:staff +wi",
		Args: cobra.ExactArgs(4),
		RunE: func(c *cobra.Command, args []string) error {
			rights, mode := args[3], storev1.ACLMode_ACL_MODE_REPLACE
			switch {
			case strings.HasPrefix(rights, "+"):
				rights, mode = rights[1:], storev1.ACLMode_ACL_MODE_ADD
			case strings.HasPrefix(rights, "-"):
				rights, mode = rights[1:], storev1.ACLMode_ACL_MODE_REMOVE
			}
			if rights == "all" {
				rights = "lrswipkxtea"
			}
			return d.setACL(c, args, mode, rights, "has "+args[3])
		},
	}
}

func aclDelete(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "delete ACCOUNT MAILBOX IDENTIFIER",
		Aliases: []string{"remove"},
		Short:   "Take somebody out of a mailbox's list",
		Example: "  mailfarm acl delete alice@example.org Work bob@example.org",
		Args:    cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			return d.setACL(c, args, storev1.ACLMode_ACL_MODE_REPLACE, "", "removed")
		},
	}
}

func (d *door) setACL(c *cobra.Command, args []string, mode storev1.ACLMode, rights, what string) error {
	return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
		id, err := ownerID(ctx, conn, args[0])
		if err != nil {
			return err
		}
		req := &storev1.SetACLRequest{Account: id, Mailbox: args[1], Identifier: args[2], Mode: mode, Rights: rights}
		if _, err := storev1.NewSharingClient(conn).SetACL(ctx, req); err != nil {
			return ofFolder(err, args[0], req.Mailbox)
		}
		return said(c, d, what, args[2])
	})
}

// ofFolder says which folder it was that a call did not find.
func ofFolder(err error, account, folder string) error {
	if status.Code(err) != codes.NotFound || folder == "" {
		return err
	}
	return fmt.Errorf("%s has no folder %q: `mailfarm mailbox list %s` tells them", account, folder, account)
}

func shareList(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "list ACCOUNT",
		Short:   "List the mailboxes of others that an account sees",
		Example: "  mailfarm share list bob@example.org\n  mailfarm share list bob@example.org --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				id, err := ownerID(ctx, conn, args[0])
				if err != nil {
					return err
				}
				stream, err := storev1.NewSharingClient(conn).Shared(ctx, &storev1.SharedRequest{Actor: id})
				if err != nil {
					return err
				}
				type row struct {
					Owner   string `json:"owner"`
					Shared  bool   `json:"shared_account"`
					Mailbox string `json:"mailbox"`
					Rights  string `json:"rights"`
				}
				all := []row{}
				var rows [][]string
				for one, err := range answers(stream.Recv) {
					if err != nil {
						return err
					}
					for _, m := range one.Mailboxes {
						all = append(all, row{one.Address, one.Shared, m.Name, m.Rights})
						rows = append(rows, []string{one.Address, m.Name, m.Rights})
					}
				}
				if d.json {
					return printJSON(c.OutOrStdout(), all)
				}
				return table(c.OutOrStdout(), "OWNER\tMAILBOX\tRIGHTS", rows)
			})
		},
	}
}
