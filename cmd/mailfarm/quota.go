package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func newQuota() *cobra.Command {
	d := &door{}
	c := group("quota", "Limits of accounts, folders and domains, and what is used of them")
	c.Long = `Limits of accounts, folders and domains, and what is used of them. An account without limits of its own has those that its
domain has for each account, and else those of store.quota in the configuration; a folder's limits hold for it and all below it. A
domain's limits hold for all its accounts together.

Mail over a limit is deferred or refused when it arrives (over_quota of the acceptance of ingress and submission) and waits in
the queue when it comes later. Owners find a message in INBOX when they pass the shares of store.quota.tell_at; the postmaster of
a domain, where it is an alias of an account here, when all its accounts together do.`
	d.flags(c)
	c.AddCommand(quotaList(d), quotaDomains(d), quotaShow(d), quotaSet(d), quotaRecount(d))
	return c
}

// rootJSON is a quota root as --json prints it. Limits of 0 are none.
type rootJSON struct {
	Folder        string `json:"folder"`
	Size          int64  `json:"size"`
	SizeLimit     int64  `json:"size_limit"`
	Messages      int64  `json:"messages"`
	MessagesLimit int64  `json:"messages_limit"`
	// OwnSize and OwnMessages are as they were set: 0 is the default, -1 none.
	OwnSize     int64 `json:"own_size"`
	OwnMessages int64 `json:"own_messages"`
}

func rootOf(r *storev1.QuotaRoot) rootJSON {
	return rootJSON{r.GetName(), r.GetSize(), r.GetLimits().GetSize(), r.GetMessages(), r.GetLimits().GetMessages(),
		r.GetOwn().GetSize(), r.GetOwn().GetMessages()}
}

// accountQuotaJSON is an account as `quota list` prints it.
type accountQuotaJSON struct {
	Address string `json:"address"`
	rootJSON
	// Told is the highest share of its limits, percent, that its owner was told of.
	Told uint32 `json:"told"`
}

// addresses are the accounts of a domain, or all, by their ids.
func addresses(ctx context.Context, conn *grpc.ClientConn, domain string) (map[uint64]string, error) {
	resp, err := directoryv1.NewAccountsClient(conn).ListAccounts(ctx, &directoryv1.ListAccountsRequest{Domain: domain})
	if err != nil {
		return nil, err
	}
	byID := make(map[uint64]string, len(resp.GetAccounts()))
	for _, a := range resp.GetAccounts() {
		byID[a.GetId()] = a.GetAddress()
	}
	return byID, nil
}

// accountID finds the account of an address.
func accountID(ctx context.Context, conn *grpc.ClientConn, address string) (uint64, error) {
	resp, err := directoryv1.NewDirectoryClient(conn).Resolve(ctx, &directoryv1.ResolveRequest{Addresses: []string{address}})
	if err != nil {
		return 0, err
	}
	if r := resp.GetResolutions(); len(r) == 1 && r[0].GetAccount() != 0 {
		return r[0].GetAccount(), nil
	}
	return 0, fmt.Errorf("%s is no account here: `mailfarm account list` tells them", address)
}

func quotaList(d *door) *cobra.Command {
	var domain string
	var over int
	c := &cobra.Command{
		Use:     "list",
		Short:   "List accounts with what they use",
		Example: "  mailfarm quota list --domain example.org\n  mailfarm quota list --over 80 --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				byID, err := addresses(ctx, conn, domain)
				if err != nil {
					return err
				}
				all := []accountQuotaJSON{}
				for after := uint64(0); ; {
					page, err := storev1.NewQuotasClient(conn).ListQuotas(ctx, &storev1.ListQuotasRequest{After: after})
					if err != nil {
						return err
					}
					if len(page.GetAccounts()) == 0 {
						break
					}
					for _, q := range page.GetAccounts() {
						after = q.GetAccount()
						if address, ok := byID[after]; ok && share(q.GetRoot()) >= over {
							all = append(all, accountQuotaJSON{address, rootOf(q.GetRoot()), q.GetLevel()})
						}
					}
				}
				if d.json {
					return printJSON(c.OutOrStdout(), all)
				}
				var rows [][]string
				for _, q := range all {
					rows = append(rows, append([]string{q.Address}, q.cells()...))
				}
				return table(c.OutOrStdout(), "ADDRESS\tSIZE\tLIMIT\tMESSAGES\tLIMIT", rows)
			})
		},
	}
	c.Flags().StringVar(&domain, "domain", "", "only accounts of this domain")
	c.Flags().IntVar(&over, "over", 0, "only accounts that use at least this share of a limit, percent")
	return c
}

// share is how much of its limits a root uses, percent.
func share(r *storev1.QuotaRoot) int {
	percent := int64(0)
	if l := r.GetLimits().GetSize(); l > 0 {
		percent = r.GetSize() * 100 / l
	}
	if l := r.GetLimits().GetMessages(); l > 0 {
		percent = max(percent, r.GetMessages()*100/l)
	}
	return int(percent)
}

// cells are what tables show of a root.
func (r *rootJSON) cells() []string {
	return []string{octets(r.Size), limit(r.SizeLimit, octets), fmt.Sprint(r.Messages), limit(r.MessagesLimit, func(n int64) string { return fmt.Sprint(n) })}
}

func limit(n int64, write func(int64) string) string {
	if n == 0 {
		return "none"
	}
	return write(n)
}

// octets writes a size for people.
func octets(n int64) string {
	for _, u := range []struct {
		unit int64
		name string
	}{{1 << 40, "T"}, {1 << 30, "G"}, {1 << 20, "M"}, {1 << 10, "K"}} {
		if n >= u.unit {
			return strconv.FormatFloat(float64(n)/float64(u.unit), 'f', 1, 64) + u.name
		}
	}
	return fmt.Sprint(n)
}

func quotaShow(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "show ADDRESS",
		Short:   "Show an account's limits, those of its folders, and their use",
		Example: "  mailfarm quota show ann@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				id, err := accountID(ctx, conn, args[0])
				if err != nil {
					return err
				}
				resp, err := storev1.NewQuotasClient(conn).GetQuota(ctx, &storev1.GetQuotaRequest{Account: id})
				if err != nil {
					return err
				}
				all := []rootJSON{}
				var rows [][]string
				for _, r := range resp.GetRoots() {
					root := rootOf(r)
					all = append(all, root)
					name := root.Folder
					if name == "" {
						name = "(account)"
					}
					rows = append(rows, append([]string{name}, root.cells()...))
				}
				if d.json {
					return printJSON(c.OutOrStdout(), all)
				}
				return table(c.OutOrStdout(), "FOLDER\tSIZE\tLIMIT\tMESSAGES\tLIMIT", rows)
			})
		},
	}
}

func quotaSet(d *door) *cobra.Command {
	var folder, size, messages string
	var ofDomain domainLimits
	c := &cobra.Command{
		Use:   "set ADDRESS|--domain DOMAIN",
		Short: "Set the limits of an account, of a folder and all below it, or of a domain",
		Long: `Set the limits of an account, or of a folder and all below it. What is not named is set to the default, which a folder does
not have. What is over its new limits already stays; nothing is added to it.

With --domain, --size and --messages bound what all accounts of the domain have together, and --account-size and
--account-messages are the limits of those of its accounts that have none of their own. What is not named is no limit of the domain.`,
		Example: `  mailfarm quota set ann@example.org --size 5G
  mailfarm quota set ann@example.org --size 5G --messages 200000
  mailfarm quota set ann@example.org --folder Archive --size 1G
  mailfarm quota set ann@example.org --size none
  mailfarm quota set ann@example.org
  mailfarm quota set --domain example.org --size 500G --account-size 5G
  mailfarm quota set --domain example.org`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			limits := &storev1.QuotaLimits{}
			var err error
			if limits.Size, err = parseLimit(size, true); err != nil {
				return fmt.Errorf("--size: %w", err)
			}
			if limits.Messages, err = parseLimit(messages, false); err != nil {
				return fmt.Errorf("--messages: %w", err)
			}
			if err := ofDomain.check(args, folder); err != nil {
				return err
			}
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				if ofDomain.name != "" {
					return ofDomain.set(ctx, c.OutOrStdout(), conn, limits)
				}
				id, err := accountID(ctx, conn, args[0])
				if err != nil {
					return err
				}
				if _, err := storev1.NewQuotasClient(conn).SetQuota(ctx, &storev1.SetQuotaRequest{Account: id, Mailbox: folder, Limits: limits}); err != nil {
					return ofFolder(err, args[0], folder)
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "the limits of %s are set\n", strings.TrimSpace(args[0]+" "+folder))
				return err
			})
		},
	}
	c.Flags().StringVar(&folder, "folder", "", "the folder whose limits they are")
	c.Flags().StringVar(&size, "size", "", "octets, as in 500M or 5G; none: no limit")
	c.Flags().StringVar(&messages, "messages", "", "how many messages; none: no limit")
	ofDomain.flags(c)
	return c
}

// parseLimit reads a limit: empty is the default, "none" is none.
func parseLimit(s string, units bool) (int64, error) {
	switch s {
	case "":
		return 0, nil
	case "none":
		return -1, nil
	}
	unit := int64(1)
	if units {
		if i := strings.IndexByte("KMGT", s[len(s)-1]&^0x20); i >= 0 {
			unit, s = 1<<(10*(i+1)), s[:len(s)-1]
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > (1<<62)/unit {
		return 0, fmt.Errorf("%q is no limit: write a number, with K, M, G or T for sizes, or none", s)
	}
	return n * unit, nil
}

func quotaRecount(d *door) *cobra.Command {
	var all bool
	var domain string
	c := &cobra.Command{
		Use:   "recount ADDRESS|--all",
		Short: "Count accounts anew and put wrong counters right",
		Long: `Count what lies in an account's folders, message by message, put counters right that say something else, and tell which.
It runs while mail goes on: an account is counted in one transaction. With --all, the directory is asked too for the domain that each
account counts for, where any domain has limits.`,
		Example: "  mailfarm quota recount ann@example.org\n  mailfarm quota recount --all --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return fmt.Errorf("name one account, or --all")
			}
			conn, err := d.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			ctx := c.Context()
			ids := map[uint64]string{}
			if all {
				if ids, err = addresses(ctx, conn, domain); err != nil {
					return err
				}
			} else {
				id, err := accountID(ctx, conn, args[0])
				if err != nil {
					return err
				}
				ids[id] = args[0]
			}
			if all {
				if err := placeAccounts(ctx, conn); err != nil {
					return err
				}
			}
			return recountAll(ctx, c, d, conn, ids)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all accounts")
	c.Flags().StringVar(&domain, "domain", "", "with --all: only accounts of this domain")
	return c
}

// differenceJSON is a counter that was wrong.
type differenceJSON struct {
	Address string `json:"address"`
	Folder  string `json:"folder"`
	Counter string `json:"counter"`
	Was     int64  `json:"was"`
	Is      int64  `json:"is"`
}

func recountAll(ctx context.Context, c *cobra.Command, d *door, conn *grpc.ClientConn, ids map[uint64]string) error {
	found := []differenceJSON{}
	for id, address := range ids {
		call, cancel := context.WithTimeout(ctx, callTime)
		resp, err := storev1.NewQuotasClient(conn).Recount(call, &storev1.RecountRequest{Account: id})
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", address, err)
		}
		for _, x := range resp.GetDifferences() {
			found = append(found, differenceJSON{address, x.GetMailbox(), x.GetCounter(), x.GetWas(), x.GetIs()})
		}
	}
	if d.json {
		return printJSON(c.OutOrStdout(), found)
	}
	if len(found) > 0 {
		var rows [][]string
		for _, x := range found {
			rows = append(rows, []string{x.Address, x.Folder, x.Counter, fmt.Sprint(x.Was), fmt.Sprint(x.Is)})
		}
		if err := table(c.OutOrStdout(), "ADDRESS\tFOLDER\tCOUNTER\tWAS\tIS", rows); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%d accounts counted, %d counters put right\n", len(ids), len(found))
	return err
}
