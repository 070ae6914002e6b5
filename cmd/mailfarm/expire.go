package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/account"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func newExpire() *cobra.Command {
	d := &door{}
	c := group("expire", "Rules that empty folders of what is old")
	c.Long = `Rules that empty folders of what is old. A message goes when all that a rule asks holds of it, and can be brought back like
whatever was expunged: see "mailfarm undelete".

Of the rules for a folder the most special count: of an account before those of its domain, those before rules for all, and those of the
configuration (store.expire) last; of one folder before all folders.`
	d.flags(c)
	c.AddCommand(expireSet(d), expireList(d), expireRemove(d), expireRun(d))
	return c
}

// expireAll is what rules for all accounts are given as.
const expireAll = "all"

// expireOf reads whom a rule is for.
func expireOf(ctx context.Context, conn *grpc.ClientConn, name string, rule *storev1.ExpireRule) (err error) {
	switch domain, ok := strings.CutPrefix(name, "@"); {
	case name == expireAll:
	case ok:
		rule.Domain, err = account.ParseDomain(domain)
	default:
		rule.Account, err = keptAccount(ctx, conn, name)
	}
	return err
}

// expireFlags are what a rule asks.
type expireFlags struct {
	rule          storev1.ExpireRule
	older, larger string
	dry           bool
}

func (f *expireFlags) read() (err error) {
	if f.older != "" {
		age, err := howLong(f.older)
		if err != nil || age == 0 {
			return fmt.Errorf(`--older-than: %q is no age: write it as "30d" or "48h"`, f.older)
		}
		f.rule.OlderThanNs = int64(age)
	}
	if f.larger != "" {
		if f.rule.LargerThan, err = parseLimit(f.larger, true); err != nil || f.rule.LargerThan < 0 {
			return fmt.Errorf("--larger-than: %q is no size: write a number, with K, M, G or T", f.larger)
		}
	}
	if f.rule.Received && f.older == "" {
		return errors.New("--received says what --older-than means: give that too")
	}
	return nil
}

func expireSet(d *door) *cobra.Command {
	f := &expireFlags{}
	c := &cobra.Command{
		Use:   "set ACCOUNT|@DOMAIN|all --folder FOLDER",
		Short: "Set a rule, or change the one that is there",
		Long: `Set a rule, or change the one of the same account or domain, folder and --name. All that it asks must hold of a message. It counts
from the next look on (store.expire_every), or "mailfarm expire run".

--older-than is how long a message has been in the folder; where that is not known of it, the rule has an effect once it is as old itself. With
--received the message's own date counts. With --never nothing goes from the folder, whatever more general rules say.

With --dry-run nothing is set: it is told of each folder what the rule would take now.`,
		Example: `  mailfarm expire set @example.org --folder '\Trash' --older-than 30d
  mailfarm expire set @example.org --folder '\Junk' --older-than 7d --no-flag '\Flagged'
  mailfarm expire set all --folder '*' --older-than 3650d --received --dry-run
  mailfarm expire set alice@example.org --folder '\Trash' --older-than 90d
  mailfarm expire set alice@example.org --folder '\Trash' --name large --larger-than 10M --older-than 7d
  mailfarm expire set logs@example.org --folder INBOX --keep 10000
  mailfarm expire set bob@example.org --folder '*' --never`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.read(); err != nil {
				return err
			}
			if f.dry {
				return f.try(c, d, args[0])
			}
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				if err := f.of(ctx, c, conn, args[0]); err != nil {
					return err
				}
				if _, err := storev1.NewRetentionClient(conn).SetExpireRule(ctx, &storev1.SetExpireRuleRequest{Rule: &f.rule}); err != nil {
					return err
				}
				return said(c, d, "has a rule for "+f.rule.Folder, args[0])
			})
		},
	}
	c.Flags().StringVar(&f.rule.Folder, "folder", "", `the folder: a name, a special use ("\Trash"), or "*" for all`)
	c.Flags().StringVar(&f.rule.Name, "name", "", "tells rules of one folder apart")
	c.Flags().StringVar(&f.older, "older-than", "", `only what has been in the folder for longer: "30d" or "48h"`)
	c.Flags().BoolVar(&f.rule.Received, "received", false, "--older-than is of the message's own date")
	c.Flags().StringVar(&f.larger, "larger-than", "", "only what has more octets, as in 500K or 10M")
	c.Flags().StringVar(&f.rule.Flag, "flag", "", `only what has this flag: "\Seen", or a keyword`)
	c.Flags().StringVar(&f.rule.NoFlag, "no-flag", "", "only what does not have this flag")
	c.Flags().Uint32Var(&f.rule.Keep, "keep", 0, "so many of the latest messages stay in any case")
	c.Flags().BoolVar(&f.rule.Never, "never", false, "nothing goes from the folder")
	c.Flags().BoolVar(&f.dry, "dry-run", false, "set nothing, and tell what the rule would take now")
	if err := c.MarkFlagRequired("folder"); err != nil {
		panic(err) // it is there
	}
	return c
}

// of reads whom the rule is for, and looks whether anything can come under it.
func (f *expireFlags) of(ctx context.Context, c *cobra.Command, conn *grpc.ClientConn, name string) error {
	if err := expireOf(ctx, conn, name, &f.rule); err != nil {
		return err
	}
	return ruleOf{name, f.rule.Domain, f.rule.Account, f.rule.Folder}.check(ctx, conn, c.ErrOrStderr())
}

// try tells what the rule would take.
func (f *expireFlags) try(c *cobra.Command, d *door, name string) error {
	conn, err := d.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := f.of(c.Context(), c, conn, name); err != nil {
		return err
	}
	req := &storev1.ExpireRequest{DryRun: true, Trial: &f.rule, Account: f.rule.Account}
	return d.expire(c, conn, req)
}

// expireRuleJSON is a rule as --json prints it. An older_than of "" is any age, and a larger_than of 0 any size.
type expireRuleJSON struct {
	Of        string `json:"of"`
	Folder    string `json:"folder"`
	Name      string `json:"name"`
	OlderThan string `json:"older_than"`
	Received  bool   `json:"received"`
	Larger    int64  `json:"larger_than"`
	Flag      string `json:"flag"`
	NoFlag    string `json:"no_flag"`
	Keep      uint32 `json:"keep"`
	Never     bool   `json:"never"`
	// Rule is the number of a rule of the configuration; 0 for one that was set.
	Rule uint32 `json:"rule"`
}

// expireRuleOf writes a rule; names are those of accounts.
func expireRuleOf(r *storev1.ExpireRule, names map[uint64]string) expireRuleJSON {
	v := expireRuleJSON{expireAll, r.GetFolder(), r.GetName(), "", r.GetReceived(), r.GetLargerThan(), r.GetFlag(), r.GetNoFlag(), r.GetKeep(), r.GetNever(), r.GetNumber()}
	switch {
	case r.GetAccount() != 0:
		v.Of = names[r.GetAccount()]
	case r.GetDomain() != "":
		v.Of = "@" + r.GetDomain()
	case r.GetNumber() > 0:
		v.Of = fmt.Sprintf("configuration %d", r.GetNumber())
	}
	if age := time.Duration(r.GetOlderThanNs()); age > 0 {
		v.OlderThan = age.String()
	}
	return v
}

// asks tells people what a rule asks.
func (r *expireRuleJSON) asks() string {
	if r.Never {
		return "nothing goes"
	}
	var parts []string
	add := func(is bool, format string, args ...any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(r.OlderThan != "" && !r.Received, "there for %s", r.OlderThan)
	add(r.OlderThan != "" && r.Received, "received %s ago", r.OlderThan)
	add(r.Larger > 0, "larger than %s", octets(r.Larger))
	add(r.Flag != "", "has %s", r.Flag)
	add(r.NoFlag != "", "has not %s", r.NoFlag)
	add(r.Keep > 0, "not of the latest %d", r.Keep)
	return strings.Join(parts, ", ")
}

func expireList(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "list [ACCOUNT|@DOMAIN|all]",
		Short:   "List the rules, those of the configuration first",
		Example: "  mailfarm expire list\n  mailfarm expire list @example.org --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				var only *storev1.ExpireRule
				if len(args) > 0 {
					only = &storev1.ExpireRule{}
					if err := expireOf(ctx, conn, args[0], only); err != nil {
						return err
					}
				}
				resp, err := storev1.NewRetentionClient(conn).ListExpireRules(ctx, &storev1.ListExpireRulesRequest{})
				if err != nil {
					return err
				}
				return d.printRules(ctx, c.OutOrStdout(), conn, resp.GetRules(), only)
			})
		},
	}
}

func (d *door) printRules(ctx context.Context, w io.Writer, conn *grpc.ClientConn, rules []*storev1.ExpireRule, only *storev1.ExpireRule) error {
	var ids []uint64
	var list []*storev1.ExpireRule
	for _, r := range rules {
		if only != nil && (r.GetNumber() > 0 || r.GetAccount() != only.GetAccount() || r.GetDomain() != only.GetDomain()) {
			continue
		}
		list = append(list, r)
		if r.GetAccount() != 0 {
			ids = append(ids, r.GetAccount())
		}
	}
	names := addressesOf(ctx, conn, ids)
	all := []expireRuleJSON{}
	var rows [][]string
	for _, r := range list {
		v := expireRuleOf(r, names)
		all = append(all, v)
		rows = append(rows, []string{v.Of, v.Folder, v.Name, v.asks()})
	}
	if d.json {
		return printJSON(w, all)
	}
	return table(w, "OF\tFOLDER\tNAME\tASKS", rows)
}

func expireRemove(d *door) *cobra.Command {
	rule := &storev1.ExpireRule{}
	c := &cobra.Command{
		Use:     "remove ACCOUNT|@DOMAIN|all --folder FOLDER",
		Short:   "Remove a rule: those that are more general count again",
		Example: "  mailfarm expire remove alice@example.org --folder '\\Trash'\n  mailfarm expire remove alice@example.org --folder '\\Trash' --name large",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				if err := expireOf(ctx, conn, args[0], rule); err != nil {
					return err
				}
				if _, err := storev1.NewRetentionClient(conn).RemoveExpireRule(ctx, &storev1.RemoveExpireRuleRequest{Rule: rule}); err != nil {
					return err
				}
				return said(c, d, "has no such rule for "+rule.Folder+" any more", args[0])
			})
		},
	}
	c.Flags().StringVar(&rule.Folder, "folder", "", "the folder of the rule, as it was set")
	c.Flags().StringVar(&rule.Name, "name", "", "the name of the rule, where it has one")
	if err := c.MarkFlagRequired("folder"); err != nil {
		panic(err) // it is there
	}
	return c
}

func expireRun(d *door) *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use:   "run [ACCOUNT]",
		Short: "Apply the rules now; what goes can be brought back",
		Long: `Apply the rules now, to one account or all, instead of at their next time. What goes is kept like whatever was expunged: see
"mailfarm undelete".

With --dry-run nothing is changed: it is told of each folder what would go. A message that several rules take is counted by each.`,
		Example: "  mailfarm expire run --dry-run\n  mailfarm expire run alice@example.org",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			conn, err := d.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			req := &storev1.ExpireRequest{DryRun: dry}
			if len(args) > 0 {
				if req.Account, err = keptAccount(c.Context(), conn, args[0]); err != nil {
					return err
				}
			}
			return d.expire(c, conn, req)
		},
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "only tell what would go")
	return c
}

// expire applies rules, and tells what went.
func (d *door) expire(c *cobra.Command, conn *grpc.ClientConn, req *storev1.ExpireRequest) error {
	stream, err := storev1.NewRetentionClient(conn).Expire(c.Context(), req)
	if err != nil {
		return err
	}
	return d.printExpire(c.Context(), c.OutOrStdout(), conn, stream.Recv, req.GetDryRun())
}

// expireJSON is what a rule took of a folder.
type expireJSON struct {
	Account  string         `json:"account"`
	Folder   string         `json:"folder"`
	Rule     uint32         `json:"rule"`
	Messages uint64         `json:"messages"`
	Octets   int64          `json:"octets"`
	By       expireRuleJSON `json:"by"`
}

func (d *door) printExpire(ctx context.Context, w io.Writer, conn *grpc.ClientConn, recv func() (*storev1.ExpireResponse, error), dry bool) error {
	var told []*storev1.ExpireResponse
	var ids []uint64
	var messages uint64
	var octets int64
	for {
		e, err := recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		told, ids = append(told, e), append(ids, e.Account)
		messages, octets = messages+e.Messages, octets+e.Octets
	}
	names := addressesOf(ctx, conn, ids)
	list := []expireJSON{}
	var rows [][]string
	for _, e := range told {
		v := expireJSON{names[e.Account], e.Folder, e.Rule, e.Messages, e.Octets, expireRuleOf(e.GetBy(), names)}
		list = append(list, v)
		rows = append(rows, []string{v.Account, v.Folder, strings.TrimSpace(v.By.Of + " " + v.By.Name), fmt.Sprint(v.Messages), fmt.Sprint(v.Octets)})
	}
	if d.json {
		return printJSON(w, struct {
			Folders  []expireJSON `json:"folders"`
			Messages uint64       `json:"messages"`
			Octets   int64        `json:"octets"`
			DryRun   bool         `json:"dry_run"`
		}{list, messages, octets, dry})
	}
	if err := table(w, "ACCOUNT\tFOLDER\tRULE OF\tMESSAGES\tSIZE", rows); err != nil {
		return err
	}
	what := "expired"
	if dry {
		what = "would expire"
	}
	_, err := fmt.Fprintf(w, "%d messages of %d octets %s\n", messages, octets, what)
	return err
}
