package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc"

	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
)

func newAccount() *cobra.Command {
	d := &door{}
	c := group("account", "Accounts: people with a mailbox here")
	d.flags(c)
	c.AddCommand(accountAdd(d), accountList(d), accountPasswd(d), accountRemove(d), accountImport(d))
	return c
}

func accountAdd(d *door) *cobra.Command {
	var secret passwordSource
	var shared bool
	c := &cobra.Command{
		Use:     "add ADDRESS",
		Short:   "Add an account; the password is asked for",
		Example: "  mailfarm account add carol@example.org\n  mailfarm account add carol@example.org --password-file carol.secret\n  mailfarm account add sales@example.org --shared",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var password string
			if !shared || secret.file != "" {
				var err error
				if password, err = secret.read(c.InOrStdin()); err != nil {
					return err
				}
			}
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := directoryv1.NewAccountsClient(conn).AddAccount(ctx, &directoryv1.AddAccountRequest{Address: args[0], Password: password, Shared: shared})
				if err != nil {
					return err
				}
				if d.json {
					return printJSON(c.OutOrStdout(), accountJSON(resp.Account))
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "added %s\n", resp.Account.Address)
				return err
			})
		},
	}
	secret.flag(c)
	c.Flags().BoolVar(&shared, "shared", false, `an account that several work in ("mailfarm acl set" says who); it needs no password`)
	return c
}

func accountList(d *door) *cobra.Command {
	var domain string
	c := &cobra.Command{
		Use:     "list",
		Short:   "List accounts",
		Example: "  mailfarm account list --domain example.org\n  mailfarm account list --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				resp, err := directoryv1.NewAccountsClient(conn).ListAccounts(ctx, &directoryv1.ListAccountsRequest{Domain: domain})
				if err != nil {
					return err
				}
				if d.json {
					all := make([]any, 0, len(resp.Accounts))
					for _, a := range resp.Accounts {
						all = append(all, accountJSON(a))
					}
					return printJSON(c.OutOrStdout(), all)
				}
				var rows [][]string
				for _, a := range resp.Accounts {
					rows = append(rows, []string{a.Address, when(a.CreatedNs), fmt.Sprint(a.Id)})
				}
				return table(c.OutOrStdout(), "ADDRESS\tADDED\tID", rows)
			})
		},
	}
	c.Flags().StringVar(&domain, "domain", "", "only accounts of this domain")
	return c
}

func accountPasswd(d *door) *cobra.Command {
	var secret passwordSource
	c := &cobra.Command{
		Use:     "passwd ADDRESS",
		Short:   "Give an account a new password; it is asked for",
		Example: "  mailfarm account passwd carol@example.org\n  pwgen 20 1 | mailfarm account passwd carol@example.org --password-file -",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			password, err := secret.read(c.InOrStdin())
			if err != nil {
				return err
			}
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				if _, err := directoryv1.NewAccountsClient(conn).SetPassword(ctx, &directoryv1.SetPasswordRequest{Address: args[0], Password: password}); err != nil {
					return err
				}
				return said(c, d, "password changed", args[0])
			})
		},
	}
	secret.flag(c)
	return c
}

func accountRemove(d *door) *cobra.Command {
	return &cobra.Command{
		Use:     "remove ADDRESS",
		Short:   "Remove an account: nobody can log in or send to it any more; `undelete account` brings it back until its retention ends",
		Example: "  mailfarm account remove carol@example.org",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				if _, err := directoryv1.NewAccountsClient(conn).RemoveAccount(ctx, &directoryv1.RemoveAccountRequest{Address: args[0]}); err != nil {
					return err
				}
				return said(c, d, "removed", args[0])
			})
		},
	}
}

func accountImport(d *door) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: `Add or update accounts from CSV lines "address,password" or "address,hash" ("-": standard input)`,
		Long: `Add or update accounts from CSV lines "address,password" or "address,hash".

A hash is told by its scheme: {SCRAM-SHA-256}… or {ARGON2ID}$argon2id$…
The domains must exist. Lines with faults are reported and passed over; the rest is stored.`,
		Example: "  mailfarm account import people.csv\n  mailfarm account import - --json < people.csv",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			in := c.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			return d.importAccounts(c, in)
		},
	}
}

// importAccounts streams the lines and shows progress where there is somebody to see it.
func (d *door) importAccounts(c *cobra.Command, in io.Reader) error {
	conn, err := d.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	stream, err := directoryv1.NewAccountsClient(conn).ImportAccounts(c.Context())
	if err != nil {
		return err
	}
	show := term.IsTerminal(int(os.Stderr.Fd())) && !d.json
	shown := time.Now()
	lines := bufio.NewScanner(in)
	var sent []int // the line that each entry stood on
	var faults []faultJSON
	for n := 1; lines.Scan(); n++ {
		address, secret, problem := parseAccount(lines.Text())
		switch {
		case problem != "":
			faults = append(faults, faultJSON{n, address, problem})
			continue
		case address == "":
			continue
		}
		if err := stream.Send(&directoryv1.ImportAccountsRequest{Address: address, Secret: secret}); err != nil {
			break // CloseAndRecv tells why
		}
		sent = append(sent, n)
		if show && time.Since(shown) > 200*time.Millisecond {
			shown = time.Now()
			fmt.Fprintf(os.Stderr, "\r%d accounts read", len(sent))
		}
	}
	resp, err := stream.CloseAndRecv()
	if show {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	if err = errors.Join(err, lines.Err()); err != nil {
		return err
	}
	for _, f := range resp.Faults {
		line := 0
		if n := int(f.Line); n >= 1 && n <= len(sent) {
			line = sent[n-1]
		}
		faults = append(faults, faultJSON{line, f.Address, f.Problem})
	}
	slices.SortFunc(faults, func(a, b faultJSON) int { return a.Line - b.Line })
	return d.printImport(c, resp, faults)
}

// faultJSON is a line that was passed over.
type faultJSON struct {
	Line    int    `json:"line"`
	Address string `json:"address"`
	Problem string `json:"problem"`
}

func (d *door) printImport(c *cobra.Command, resp *directoryv1.ImportAccountsResponse, faults []faultJSON) error {
	if d.json {
		if err := printJSON(c.OutOrStdout(), struct {
			Added   uint32      `json:"added"`
			Updated uint32      `json:"updated"`
			Faults  []faultJSON `json:"faults"`
		}{resp.Added, resp.Updated, append([]faultJSON{}, faults...)}); err != nil {
			return err
		}
	} else {
		for _, f := range faults {
			fmt.Fprintf(c.ErrOrStderr(), "line %d, %s: %s\n", f.Line, f.Address, f.Problem)
		}
		fmt.Fprintf(c.OutOrStdout(), "%d added, %d updated, %d passed over\n", resp.Added, resp.Updated, len(faults))
	}
	if len(faults) > 0 {
		return fmt.Errorf("%d lines were passed over", len(faults))
	}
	return nil
}

// parseAccount reads a line "address,secret". Everything behind the first comma is the secret, as hashes and passwords have
// commas too, unless it stands in quotes as spreadsheets write it. Empty lines and those that begin with # tell of nobody.
func parseAccount(line string) (address, secret, problem string) {
	line = strings.TrimSuffix(strings.TrimPrefix(line, "\ufeff"), "\r")
	if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
		return "", "", ""
	}
	address, secret, ok := strings.Cut(line, ",")
	address = strings.TrimSpace(strings.Trim(address, `"`))
	if !ok || secret == "" {
		return address, "", "no password or hash behind a comma"
	}
	if len(secret) >= 2 && secret[0] == '"' && secret[len(secret)-1] == '"' {
		secret = strings.ReplaceAll(secret[1:len(secret)-1], `""`, `"`)
	}
	return address, secret, ""
}

func accountJSON(a *directoryv1.Account) any {
	return struct {
		Address  string    `json:"address"`
		ID       uint64    `json:"id,string"`
		Created  time.Time `json:"created"`
		Disabled bool      `json:"disabled"`
	}{a.Address, a.Id, time.Unix(0, a.CreatedNs).UTC(), a.Disabled}
}

// said confirms what was done.
func said(c *cobra.Command, d *door, what, to string) error {
	if d.json {
		return printJSON(c.OutOrStdout(), map[string]string{"done": what, "name": to})
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s: %s\n", to, what)
	return err
}

// passwordSource reads a password without showing it in the process list.
type passwordSource struct{ file string }

func (p *passwordSource) flag(c *cobra.Command) {
	c.Flags().StringVar(&p.file, "password-file", "", `read the password from the first line of this file ("-": standard input)`)
}

func (p *passwordSource) read(stdin io.Reader) (string, error) {
	switch {
	case p.file != "" && p.file != "-":
		f, err := os.Open(p.file)
		if err != nil {
			return "", err
		}
		defer f.Close()
		return firstLine(f)
	case p.file == "" && term.IsTerminal(int(os.Stdin.Fd())):
		return ask()
	}
	return firstLine(stdin)
}

func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(r).ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if line == "" {
		return "", errors.New("no password given: type it, or use --password-file")
	}
	return line, nil
}

func ask() (string, error) {
	var answers [2]string
	for i, prompt := range []string{"Password: ", "Again: "} {
		fmt.Fprint(os.Stderr, prompt)
		b, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(os.Stderr)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		answers[i] = string(b)
	}
	if answers[0] != answers[1] {
		return "", errors.New("the two passwords differ")
	}
	if answers[0] == "" {
		return "", errors.New("no password given")
	}
	return answers[0], nil
}
