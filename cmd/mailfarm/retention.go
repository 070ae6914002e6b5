package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/account"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func newHold() *cobra.Command {
	d := &door{}
	c := group("hold", "Legal hold: keep all that an account removes")
	d.flags(c)
	var reason string
	set := &cobra.Command{
		Use:     "set ACCOUNT",
		Short:   "Keep everything that the account has and removes, until the hold is cleared",
		Example: `  mailfarm hold set alice@example.org --reason "case 12/2026"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.hold(c, args[0], &storev1.HoldRequest{Reason: reason}, "is under legal hold")
		},
	}
	set.Flags().StringVar(&reason, "reason", "", "why, for whoever lists it")
	c.AddCommand(set, &cobra.Command{
		Use:     "clear ACCOUNT",
		Short:   "Let go of an account: what is older than its retention goes soon",
		Example: "  mailfarm hold clear alice@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.hold(c, args[0], &storev1.HoldRequest{Clear: true}, "is not under legal hold any more")
		},
	}, &cobra.Command{
		Use:     "list [ACCOUNT]",
		Short:   "List the accounts under legal hold",
		Example: "  mailfarm hold list\n  mailfarm hold list alice@example.org --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				return d.listHolds(ctx, c.OutOrStdout(), conn, args)
			})
		},
	})
	return c
}

func (d *door) hold(c *cobra.Command, name string, req *storev1.HoldRequest, done string) error {
	return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		if req.Account, err = keptAccount(ctx, conn, name); err != nil {
			return err
		}
		if _, err = storev1.NewRetentionClient(conn).Hold(ctx, req); err != nil {
			return err
		}
		return said(c, d, done, name)
	})
}

func (d *door) listHolds(ctx context.Context, w io.Writer, conn *grpc.ClientConn, args []string) (err error) {
	req := &storev1.ListHoldsRequest{}
	if len(args) > 0 {
		if req.Account, err = keptAccount(ctx, conn, args[0]); err != nil {
			return err
		}
	}
	resp, err := storev1.NewRetentionClient(conn).ListHolds(ctx, req)
	if err != nil {
		return err
	}
	ids := make([]uint64, len(resp.Holds))
	for i, h := range resp.Holds {
		ids[i] = h.Account
	}
	names := addressesOf(ctx, conn, ids)
	type holdJSON struct {
		Account string    `json:"account"`
		ID      uint64    `json:"id,string"`
		Set     time.Time `json:"set"`
		Reason  string    `json:"reason"`
	}
	list := []holdJSON{}
	var rows [][]string
	for _, h := range resp.Holds {
		list = append(list, holdJSON{names[h.Account], h.Account, time.Unix(0, h.SetNs).UTC(), h.Reason})
		rows = append(rows, []string{names[h.Account], when(h.SetNs), oneLine(h.Reason, 60)})
	}
	if d.json {
		return printJSON(w, list)
	}
	return table(w, "ACCOUNT\tSET\tREASON", rows)
}

// addressesOf are those of accounts; of one that the directory does not know, the id.
func addressesOf(ctx context.Context, conn *grpc.ClientConn, ids []uint64) map[uint64]string {
	names := make(map[uint64]string, len(ids))
	client := directoryv1.NewRemovedAccountsClient(conn)
	if removed, err := client.ListRemoved(ctx, &directoryv1.ListRemovedRequest{}); err == nil {
		for _, a := range removed.Accounts {
			names[a.Id] = a.Address + " (removed)"
		}
	}
	for len(ids) > 0 {
		some := ids[:min(len(ids), 1000)]
		ids = ids[len(some):]
		resp, err := client.Who(ctx, &directoryv1.WhoRequest{Ids: some})
		for i, id := range some {
			switch {
			case err == nil && i < len(resp.Addresses) && resp.Addresses[i] != "":
				names[id] = resp.Addresses[i]
			case names[id] == "":
				names[id] = fmt.Sprint(id)
			}
		}
	}
	return names
}

func newRetention() *cobra.Command {
	d := &door{}
	c := group("retention", "For how long removed messages are kept")
	d.flags(c)
	var folder string
	set := &cobra.Command{
		Use:   "set ACCOUNT|@DOMAIN TIME",
		Short: "Keep what an account, or all of a domain, removes for another time than the farm's",
		Example: `  mailfarm retention set alice@example.org 90d
  mailfarm retention set @example.org 48h --folder '\Junk'`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			keep, err := howLong(args[1])
			if err != nil {
				return fmt.Errorf(`%q is no time: write it as "90d" or "48h"`, args[1])
			}
			return d.setRetention(c, args[0], folder, keep, "kept for "+args[1])
		},
	}
	clearRule := &cobra.Command{
		Use:     "clear ACCOUNT|@DOMAIN",
		Short:   "Let the more general rule count again",
		Example: "  mailfarm retention clear alice@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.setRetention(c, args[0], folder, -1, "has no retention of its own any more")
		},
	}
	for _, sub := range []*cobra.Command{set, clearRule} {
		sub.Flags().StringVar(&folder, "folder", "", `only in this folder, by name or special use ("\Junk")`)
	}
	c.AddCommand(set, clearRule, &cobra.Command{
		Use:     "list",
		Short:   "List what is said of retention",
		Example: "  mailfarm retention list --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				return d.listRetention(ctx, c.OutOrStdout(), conn)
			})
		},
	})
	return c
}

func (d *door) setRetention(c *cobra.Command, name, folder string, keep time.Duration, done string) error {
	return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		rule := &storev1.RetentionRule{Folder: folder, KeepNs: int64(keep)}
		if domain, ok := strings.CutPrefix(name, "@"); ok {
			if rule.Domain, err = account.ParseDomain(domain); err != nil {
				return err
			}
		} else if rule.Account, err = keptAccount(ctx, conn, name); err != nil {
			return err
		}
		if keep >= 0 {
			if err := (ruleOf{name, rule.Domain, rule.Account, folder}).check(ctx, conn, c.ErrOrStderr()); err != nil {
				return err
			}
		}
		if _, err := storev1.NewRetentionClient(conn).SetRetention(ctx, &storev1.SetRetentionRequest{Rule: rule}); err != nil {
			return err
		}
		return said(c, d, done, name)
	})
}

func (d *door) listRetention(ctx context.Context, w io.Writer, conn *grpc.ClientConn) error {
	resp, err := storev1.NewRetentionClient(conn).ListRetention(ctx, &storev1.ListRetentionRequest{})
	if err != nil {
		return err
	}
	var ids []uint64
	for _, r := range resp.Rules {
		if r.Account != 0 {
			ids = append(ids, r.Account)
		}
	}
	names := addressesOf(ctx, conn, ids)
	type ruleJSON struct {
		Of     string `json:"of"`
		Folder string `json:"folder"`
		Keep   string `json:"keep"`
	}
	list := []ruleJSON{{"all", "", time.Duration(resp.DefaultKeepNs).String()}}
	for _, r := range append(resp.Folders, resp.Rules...) {
		of := "all"
		if r.Account != 0 {
			of = names[r.Account]
		} else if r.Domain != "" {
			of = "@" + r.Domain
		}
		list = append(list, ruleJSON{of, r.Folder, time.Duration(r.KeepNs).String()})
	}
	if d.json {
		return printJSON(w, list)
	}
	var rows [][]string
	for _, r := range list {
		rows = append(rows, []string{r.Of, r.Folder, r.Keep})
	}
	return table(w, "OF\tFOLDER\tKEPT FOR", rows)
}
