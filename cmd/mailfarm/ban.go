package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

func newBan() *cobra.Command {
	d := &door{}
	c := group("ban", "Bans: clients that the farm does not talk to")
	c.Long = `Clients that no front of the farm lets in: who guesses passwords is banned by the farm itself, for a while, and
longer each time; operators ban and let in whom they want. All processes hear of it within a second.

A ban refuses new connections. It does not end those that are open, and it does not hold for limits.trusted.`
	d.flags(c)
	c.AddCommand(banList(d), banAdd(d), banRemove(d))
	return c
}

// banJSON is a ban as --json prints it.
type banJSON struct {
	Network string    `json:"network"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	// Strikes is how often the farm has banned it of itself lately; 0: an operator did.
	Strikes uint32 `json:"strikes"`
	Reason  string `json:"reason"`
}

func banOf(b *adminv1.Ban) banJSON {
	return banJSON{b.Network, time.Unix(0, b.SinceNs), time.Unix(0, b.UntilNs), b.Strikes, b.Reason}
}

func banList(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the bans in force",
		Example: "  mailfarm ban list\n  mailfarm ban list --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				stream, err := adminv1.NewBansClient(conn).List(ctx, &adminv1.BansListRequest{})
				if err != nil {
					return err
				}
				all := []banJSON{}
				for resp, err := range answers(stream.Recv) {
					if err != nil {
						return err
					}
					for _, b := range resp.Bans {
						all = append(all, banOf(b))
					}
				}
				if d.json {
					return printJSON(c.OutOrStdout(), all)
				}
				return printBans(c.OutOrStdout(), all)
			})
		},
	}
}

func printBans(w io.Writer, all []banJSON) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "nobody is banned")
		return err
	}
	var rows [][]string
	for _, b := range all {
		by := "operator"
		if b.Strikes > 0 {
			by = fmt.Sprintf("farm (%d×)", b.Strikes)
		}
		rows = append(rows, []string{b.Network, by, when(b.Since.UnixNano()), when(b.Until.UnixNano()), b.Reason})
	}
	return table(w, "NETWORK\tBY\tSINCE\tUNTIL\tREASON", rows)
}

func banAdd(d *door) *cobra.Command {
	var length time.Duration
	var reason string
	c := &cobra.Command{
		Use:   "add ADDRESS|NETWORK",
		Short: "Ban an address, or a network, for a time; again: for another time",
		Long: `Ban an address, or a network, for a time. An IPv6 address stands for its /64 network, for who has one of those has all
of it. A network that is banned already is banned as told now.`,
		Example: `  mailfarm ban add 192.0.2.7
  mailfarm ban add 192.0.2.0/24 --for 72h --reason "dictionary attack"
  mailfarm ban add 2001:db8:7::/48 --for 720h`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := adminv1.NewBansClient(conn).Add(ctx, &adminv1.BansAddRequest{Network: args[0], ForNs: int64(length), Reason: reason})
				if err != nil {
					return err
				}
				if d.json {
					return printJSON(c.OutOrStdout(), banOf(resp.Ban))
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s is banned until %s; connections that are open stay\n", resp.Ban.Network, when(resp.Ban.UntilNs))
				return err
			})
		},
	}
	c.Flags().DurationVar(&length, "for", 24*time.Hour, "how long, as in 30m or 24h")
	c.Flags().StringVar(&reason, "reason", "", "why, for the list")
	return c
}

func banRemove(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "remove ADDRESS|NETWORK",
		Short:   "Let an address or network in again, and forget its failures",
		Example: "  mailfarm ban remove 192.0.2.7\n  mailfarm ban remove 2001:db8:7::/48",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := adminv1.NewBansClient(conn).Remove(ctx, &adminv1.BansRemoveRequest{Network: args[0]})
				if err != nil {
					return err
				}
				if d.json {
					return printJSON(c.OutOrStdout(), banOf(resp.Ban))
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "%s is let in again\n", resp.Ban.Network)
				return err
			})
		},
	}
}
