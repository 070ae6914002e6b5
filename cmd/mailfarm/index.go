package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func newIndex() *cobra.Command {
	d := &door{}
	c := group("index", "The full-text index that searches are spared messages by")
	c.Long = `The full-text index that searches are spared messages by (search.full_text in the configuration). It is made of the mail and
nothing else: what is not indexed is read by the search itself, so answers are the same with it, without it and while it is
being filled.`
	d.flags(c)
	c.AddCommand(indexStatus(d), indexRebuild(d))
	return c
}

// indexStatusJSON is an account as --json prints it.
type indexStatusJSON struct {
	Address string `json:"address"`
	Emails  int64  `json:"emails"`
	Indexed int64  `json:"indexed"`
	Waiting int64  `json:"waiting"`
	Octets  int64  `json:"octets"`
	// ModSeq is the account's, and IndexedModSeq the one up to which all is indexed.
	ModSeq        uint64 `json:"mod_seq"`
	IndexedModSeq uint64 `json:"indexed_mod_seq"`
	// Compared is when all emails were last compared with the index; empty: never.
	Compared string `json:"compared,omitempty"`
}

func indexStatusOf(address string, s *storev1.IndexStatus) indexStatusJSON {
	j := indexStatusJSON{Address: address, Emails: s.GetEmails(), Indexed: s.GetIndexed(), Waiting: max(s.GetEmails()-s.GetIndexed(), 0),
		Octets: s.GetOctets(), ModSeq: s.GetModSeq(), IndexedModSeq: s.GetIndexedModSeq()}
	if ns := s.GetComparedNs(); ns > 0 {
		j.Compared = time.Unix(0, ns).UTC().Format(time.RFC3339)
	}
	return j
}

// indexError tells of a farm without an index.
func indexError(err error) error {
	if status.Code(err) == codes.Unimplemented {
		return errors.New("there is no full-text index: search.full_text is off in the store's configuration")
	}
	return err
}

func indexStatus(d *door) *cobra.Command {
	var domain string
	var waiting bool
	c := &cobra.Command{
		Use:   "status [ADDRESS]",
		Short: "Show how far accounts are indexed, what waits and what the index takes",
		Example: `  mailfarm index status
  mailfarm index status ann@example.org
  mailfarm index status --waiting --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			conn, err := d.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			var list []indexStatusJSON
			if len(args) == 1 {
				list, err = indexStatusOne(c.Context(), conn, args[0])
			} else {
				list, err = indexStatusAll(c.Context(), conn, domain)
			}
			if err != nil {
				return indexError(err)
			}
			if waiting {
				list = slices.DeleteFunc(list, func(j indexStatusJSON) bool { return j.Waiting == 0 && j.ModSeq == j.IndexedModSeq })
			}
			if d.json {
				return printJSON(c.OutOrStdout(), list)
			}
			return printIndexStatus(c, list)
		},
	}
	c.Flags().StringVar(&domain, "domain", "", "only accounts of this domain")
	c.Flags().BoolVar(&waiting, "waiting", false, "only accounts of which something waits")
	return c
}

func printIndexStatus(c *cobra.Command, list []indexStatusJSON) error {
	var rows [][]string
	var emails, wait, size int64
	for _, j := range list {
		compared := j.Compared
		if compared == "" {
			compared = "never"
		}
		rows = append(rows, []string{j.Address, fmt.Sprint(j.Emails), fmt.Sprint(j.Indexed), fmt.Sprint(j.Waiting), octets(j.Octets), compared})
		emails, wait, size = emails+j.Emails, wait+j.Waiting, size+j.Octets
	}
	if err := table(c.OutOrStdout(), "ADDRESS\tMESSAGES\tINDEXED\tWAITING\tSIZE\tCOMPARED", rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%d accounts, %d messages, %d of them waiting; the index takes %s\n", len(list), emails, wait, octets(size))
	return err
}

func indexStatusOne(ctx context.Context, conn *grpc.ClientConn, address string) ([]indexStatusJSON, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	id, err := accountID(ctx, conn, address)
	if err != nil {
		return nil, err
	}
	resp, err := storev1.NewFullTextClient(conn).GetIndexStatus(ctx, &storev1.GetIndexStatusRequest{Account: id})
	if err != nil {
		return nil, err
	}
	return []indexStatusJSON{indexStatusOf(address, resp.GetStatus())}, nil
}

func indexStatusAll(ctx context.Context, conn *grpc.ClientConn, domain string) ([]indexStatusJSON, error) {
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	byID, err := addresses(call, conn, domain)
	if err != nil {
		return nil, err
	}
	list := []indexStatusJSON{}
	for after := uint64(0); ; {
		call, cancel := context.WithTimeout(ctx, callTime)
		page, err := storev1.NewFullTextClient(conn).ListIndexStatus(call, &storev1.ListIndexStatusRequest{After: after})
		cancel()
		if err != nil {
			return nil, err
		}
		if len(page.GetAccounts()) == 0 {
			break
		}
		for _, s := range page.GetAccounts() {
			after = s.GetAccount()
			if address, ok := byID[after]; ok {
				list = append(list, indexStatusOf(address, s))
			}
		}
	}
	slices.SortFunc(list, func(a, b indexStatusJSON) int {
		switch {
		case a.Address < b.Address:
			return -1
		case a.Address > b.Address:
			return 1
		}
		return 0
	})
	return list, nil
}

func indexRebuild(d *door) *cobra.Command {
	var all, wait bool
	var domain, from string
	c := &cobra.Command{
		Use:   "rebuild ADDRESS|--all",
		Short: "Drop the index of an account, or of all, and have it made anew",
		Long: `Drop the index of an account, or of all, and have the store's worker make it anew. Mail goes on meanwhile, and searches read
the messages themselves. Accounts are taken in the order of their addresses; one that was interrupted goes on with --from.`,
		Example: `  mailfarm index rebuild ann@example.org
  mailfarm index rebuild ann@example.org --wait
  mailfarm index rebuild --all --domain example.org
  mailfarm index rebuild --all --from mia@example.org`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if all == (len(args) == 1) {
				return errors.New("name one account, or --all")
			}
			conn, err := d.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			byAddress := map[string]uint64{}
			call, cancel := context.WithTimeout(c.Context(), callTime)
			defer cancel()
			if all {
				byID, err := addresses(call, conn, domain)
				if err != nil {
					return err
				}
				for id, address := range byID {
					byAddress[address] = id
				}
			} else if byAddress[args[0]], err = accountID(call, conn, args[0]); err != nil {
				return err
			}
			return rebuild(c, conn, byAddress, from, wait)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all accounts")
	c.Flags().BoolVar(&wait, "wait", false, "wait until each is indexed, and tell how far it has come")
	c.Flags().StringVar(&domain, "domain", "", "with --all: only accounts of this domain")
	c.Flags().StringVar(&from, "from", "", "with --all: only accounts from this address on")
	return c
}

// rebuild drops the indexes of accounts, one after the other.
func rebuild(c *cobra.Command, conn *grpc.ClientConn, byAddress map[string]uint64, from string, wait bool) error {
	client, n := storev1.NewFullTextClient(conn), 0
	for _, address := range slices.Sorted(maps.Keys(byAddress)) {
		if address < from {
			continue
		}
		call, cancel := context.WithTimeout(c.Context(), callTime)
		_, err := client.RebuildIndex(call, &storev1.RebuildIndexRequest{Account: byAddress[address]})
		cancel()
		if err == nil && wait {
			err = awaitIndex(c, client, address, byAddress[address])
		}
		if err != nil && len(byAddress) > 1 && status.Code(err) != codes.Unimplemented {
			return fmt.Errorf("%w: go on with --all --from %s", err, address)
		}
		if err != nil {
			return indexError(err)
		}
		n++
		if _, err := fmt.Fprintf(c.ErrOrStderr(), "%s: dropped, %s\n", address, map[bool]string{true: "and indexed", false: "and is being indexed"}[wait]); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%d accounts\n", n)
	return err
}

// indexLook is how often a waiting command looks.
const indexLook = time.Second

// awaitIndex waits until an account is indexed.
func awaitIndex(c *cobra.Command, client storev1.FullTextClient, address string, id uint64) error {
	for told := int64(-1); ; {
		call, cancel := context.WithTimeout(c.Context(), callTime)
		resp, err := client.GetIndexStatus(call, &storev1.GetIndexStatusRequest{Account: id})
		cancel()
		if err != nil {
			return err
		}
		s := resp.GetStatus()
		if s.GetIndexed() >= s.GetEmails() && s.GetIndexedModSeq() == s.GetModSeq() {
			return nil
		}
		if s.GetIndexed() != told {
			told = s.GetIndexed()
			if _, err := fmt.Fprintf(c.ErrOrStderr(), "%s: %d of %d messages\n", address, told, s.GetEmails()); err != nil {
				return err
			}
		}
		select {
		case <-c.Context().Done():
			return c.Context().Err()
		case <-time.After(indexLook):
		}
	}
}
