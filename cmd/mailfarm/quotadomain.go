package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/mailfarm/mailfarm/internal/account"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// domainLimits are the flags of `quota set` that are about a domain.
type domainLimits struct {
	name, eachSize, eachMessages string
}

func (l *domainLimits) flags(c *cobra.Command) {
	c.Flags().StringVar(&l.name, "domain", "", "the domain whose limits they are")
	c.Flags().StringVar(&l.eachSize, "account-size", "", "with --domain: octets of each account without limits of its own")
	c.Flags().StringVar(&l.eachMessages, "account-messages", "", "with --domain: messages of each account without limits of its own")
}

// check tells whether the flags fit together.
func (l *domainLimits) check(args []string, folder string) error {
	switch {
	case (l.name == "") == (len(args) == 0):
		return errors.New("name an account, or a domain with --domain")
	case l.name != "" && folder != "":
		return errors.New("--folder is for an account: a domain has no folders")
	case l.name == "" && (l.eachSize != "" || l.eachMessages != ""):
		return errors.New("--account-size and --account-messages need --domain: write --size and --messages for an account")
	}
	return nil
}

func (l *domainLimits) set(ctx context.Context, w io.Writer, conn *grpc.ClientConn, limits *storev1.QuotaLimits) (err error) {
	each := &storev1.QuotaLimits{}
	if each.Size, err = parseLimit(l.eachSize, true); err != nil {
		return fmt.Errorf("--account-size: %w", err)
	}
	if each.Messages, err = parseLimit(l.eachMessages, false); err != nil {
		return fmt.Errorf("--account-messages: %w", err)
	}
	domain, err := knownDomain(ctx, conn, l.name)
	if err != nil {
		return err
	}
	if _, err := storev1.NewQuotasClient(conn).SetDomainQuota(ctx, &storev1.SetDomainQuotaRequest{Domain: domain, Limits: limits, Each: each}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "the limits of the domain %s are set\n", domain)
	return err
}

// knownDomain is the domain as the directory has it. One that is removed may still have limits to be taken away.
func knownDomain(ctx context.Context, conn *grpc.ClientConn, name string) (string, error) {
	domain, here, err := domainHere(ctx, conn, name)
	if err != nil || here {
		return domain, err
	}
	limited, err := storev1.NewQuotasClient(conn).ListDomainQuotas(ctx, &storev1.ListDomainQuotasRequest{})
	if err != nil {
		return "", err
	}
	if slices.ContainsFunc(limited.GetDomains(), func(d *storev1.DomainQuota) bool { return d.GetDomain() == domain }) {
		return domain, nil
	}
	return "", noDomain(name)
}

// domainHere reads a domain's name, and tells whether the directory has it.
func domainHere(ctx context.Context, conn *grpc.ClientConn, name string) (domain string, here bool, err error) {
	if domain, err = account.ParseDomain(name); err != nil {
		return "", false, err
	}
	resp, err := directoryv1.NewAccountsClient(conn).ListDomains(ctx, &directoryv1.ListDomainsRequest{})
	return domain, slices.ContainsFunc(resp.GetDomains(), func(d *directoryv1.Domain) bool { return d.GetName() == domain }), err
}

func noDomain(name string) error {
	return fmt.Errorf("%s is no domain here: `mailfarm domain list` tells them", name)
}

// domainQuotaJSON is a domain as `quota domains` prints it. Limits of 0 are none; those of accounts are 0 for the farm's default
// and -1 for none.
type domainQuotaJSON struct {
	Domain          string `json:"domain"`
	Accounts        uint64 `json:"accounts"`
	Size            int64  `json:"size"`
	SizeLimit       int64  `json:"size_limit"`
	Messages        int64  `json:"messages"`
	MessagesLimit   int64  `json:"messages_limit"`
	AccountSize     int64  `json:"account_size"`
	AccountMessages int64  `json:"account_messages"`
	Told            uint32 `json:"told"`
}

func quotaDomains(d *door) *cobra.Command {
	return &cobra.Command{
		Use:   "domains",
		Short: "List the domains that have limits, with what their accounts use together",
		Long: `List the domains that have limits, with what their accounts use together. Accounts are those that ever had mail; the last
two columns are the limits of each account that has none of its own.`,
		Example: "  mailfarm quota domains\n  mailfarm quota domains --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := storev1.NewQuotasClient(conn).ListDomainQuotas(ctx, &storev1.ListDomainQuotasRequest{})
				if err != nil {
					return err
				}
				all := []domainQuotaJSON{}
				var rows [][]string
				count := func(n int64) string { return fmt.Sprint(n) }
				for _, q := range resp.GetDomains() {
					all = append(all, domainQuotaJSON{q.GetDomain(), q.GetAccounts(), q.GetSize(), q.GetLimits().GetSize(),
						q.GetMessages(), q.GetLimits().GetMessages(), q.GetEach().GetSize(), q.GetEach().GetMessages(), q.GetLevel()})
					rows = append(rows, []string{q.GetDomain(), fmt.Sprint(q.GetAccounts()),
						octets(q.GetSize()), limit(q.GetLimits().GetSize(), octets), count(q.GetMessages()), limit(q.GetLimits().GetMessages(), count),
						limitOfEach(q.GetEach().GetSize(), octets), limitOfEach(q.GetEach().GetMessages(), count)})
				}
				if d.json {
					return printJSON(c.OutOrStdout(), all)
				}
				return table(c.OutOrStdout(), "DOMAIN\tACCOUNTS\tSIZE\tLIMIT\tMESSAGES\tLIMIT\tSIZE EACH\tMESSAGES EACH", rows)
			})
		},
	}
}

func limitOfEach(n int64, write func(int64) string) string {
	switch n {
	case 0:
		return "default"
	case -1:
		return "none"
	}
	return write(n)
}

// placeAccounts has the store ask for the domains of all accounts, where any domain has limits.
func placeAccounts(ctx context.Context, conn *grpc.ClientConn) error {
	client := storev1.NewQuotasClient(conn)
	limited, err := client.ListDomainQuotas(ctx, &storev1.ListDomainQuotasRequest{})
	if err != nil || len(limited.GetDomains()) == 0 {
		return err
	}
	_, err = client.PlaceAccounts(ctx, &storev1.PlaceAccountsRequest{})
	return err
}
