package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	adminv1 "github.com/mailfarm/mailfarm/proto/mailfarm/admin/v1"
)

// sessionJSON is a client's session as --json prints it.
type sessionJSON struct {
	ID         string     `json:"id"`
	Role       string     `json:"role"`
	Process    string     `json:"process,omitempty"`
	User       string     `json:"user"`
	Client     string     `json:"client"`
	Since      time.Time  `json:"since"`
	LoggedIn   *time.Time `json:"logged_in"`
	Program    string     `json:"program"`
	TLS        string     `json:"tls"`
	Compressed bool       `json:"compressed"`
	Folder     string     `json:"folder"`
	ReadOnly   bool       `json:"read_only"`
	Idle       bool       `json:"idle"`
	OctetsIn   uint64     `json:"octets_in"`
	OctetsOut  uint64     `json:"octets_out"`
	Commands   uint64     `json:"commands"`
	Command    string     `json:"command"`
	Active     *time.Time `json:"active"`
}

func sessionOf(process string, s *adminv1.ClientSession) sessionJSON {
	return sessionJSON{
		ID: s.GetId(), Role: s.GetRole(), Process: process, User: s.GetUser(), Client: s.GetClient(), Since: time.Unix(0, s.GetSinceNs()),
		LoggedIn: instant(s.GetLoginNs()), Program: s.GetProgram(), TLS: s.GetTls(), Compressed: s.GetCompressed(), Folder: s.GetFolder(),
		ReadOnly: s.GetReadOnly(), Idle: s.GetIdle(), OctetsIn: s.GetOctetsIn(), OctetsOut: s.GetOctetsOut(),
		Commands: s.GetCommands(), Command: s.GetCommand(), Active: instant(s.GetActiveNs()),
	}
}

// instant is a time that may not be known.
func instant(ns int64) *time.Time {
	if ns == 0 {
		return nil
	}
	t := time.Unix(0, ns)
	return &t
}

func mailboxWho(d *door) *cobra.Command {
	return &cobra.Command{
		Use:   "who [ACCOUNT]",
		Short: "List who is connected by IMAP and POP3, at all processes",
		Long: `List the sessions of an account, or all, at all processes that run imap or pop3: since when, from where, with which
program, what they have selected and do. OCTETS are those that came and went, before TLS.`,
		Example: "  mailfarm mailbox who\n  mailfarm mailbox who ann@example.org --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				req := &adminv1.SessionsListRequest{}
				if len(args) == 1 {
					var err error
					if req.Account, err = ownerID(ctx, conn, args[0]); err != nil {
						return err
					}
				}
				all, err := listSessions(ctx, conn, req)
				if err != nil {
					return err
				}
				if d.json {
					return printJSON(c.OutOrStdout(), all)
				}
				return printSessions(c.OutOrStdout(), all)
			})
		},
	}
}

// listSessions gathers what all processes tell.
func listSessions(ctx context.Context, conn *grpc.ClientConn, req *adminv1.SessionsListRequest) ([]sessionJSON, error) {
	stream, err := adminv1.NewSessionsClient(conn).List(ctx, req)
	if err != nil {
		return nil, err
	}
	all, answered := []sessionJSON{}, 0
	for resp, err := range answers(stream.Recv) {
		if err != nil {
			return nil, err
		}
		answered++
		for _, s := range resp.GetSessions() {
			all = append(all, sessionOf(resp.GetProcess(), s))
		}
	}
	if answered == 0 {
		return nil, errors.New("no process that runs imap or pop3 answered: see `mailfarm farm status`")
	}
	slices.SortFunc(all, func(a, b sessionJSON) int {
		return cmp.Or(strings.Compare(a.User, b.User), a.Since.Compare(b.Since), strings.Compare(a.ID, b.ID))
	})
	return all, nil
}

func printSessions(w io.Writer, all []sessionJSON) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "nobody is connected")
		return err
	}
	var rows [][]string
	for _, s := range all {
		doing := s.Command
		if s.Idle {
			doing = "(idle)"
		}
		folder := visible(s.Folder)
		if s.ReadOnly {
			folder += " (read only)"
		}
		line := s.TLS
		if s.Compressed {
			line += " deflate"
		}
		rows = append(rows, []string{s.ID, cmp.Or(visible(s.User), "-"), s.Role, s.Process, s.Client, when(s.Since.UnixNano()), cmp.Or(visible(s.Program), "-"),
			cmp.Or(line, "none"), cmp.Or(folder, "-"), cmp.Or(doing, "-"), fmt.Sprint(s.Commands), octets(int64(s.OctetsIn)) + "/" + octets(int64(s.OctetsOut))})
	}
	return table(w, "SESSION\tUSER\tROLE\tPROCESS\tCLIENT\tSINCE\tPROGRAM\tTLS\tFOLDER\tLAST\tCOMMANDS\tOCTETS", rows)
}

func mailboxKick(d *door) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "kick ACCOUNT [SESSION]",
		Short: "End the sessions of an account, or one of them",
		Long: `End the sessions of an account at all processes, or the one of an id that "mailbox who" tells. The clients are told BYE or
-ERR with the reason and are disconnected within a second; what a command has done stays done. They may come again: to
keep somebody out, change the password (which ends sessions too) or ban the address.`,
		Example: "  mailfarm mailbox kick ann@example.org\n" +
			"  mailfarm mailbox kick ann@example.org 0001ABCDEFGH --reason \"your client is looping\"",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			return d.call(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				id, err := ownerID(ctx, conn, args[0])
				if err != nil {
					return err
				}
				req := &adminv1.SessionsEndRequest{Account: id, Text: reason}
				if len(args) == 2 {
					req.Session = args[1]
				}
				resp, err := adminv1.NewSessionsClient(conn).End(ctx, req)
				if err != nil {
					return err
				}
				ended := []sessionJSON{}
				for _, s := range resp.GetEnded() {
					ended = append(ended, sessionOf("", s))
				}
				switch {
				case resp.GetProcesses() == 0:
					return errors.New("no process that runs imap or pop3 answered: see `mailfarm farm status`")
				case len(args) == 2 && len(ended) == 0:
					return fmt.Errorf("%s has no session %s: `mailfarm mailbox who %s` tells them", args[0], args[1], args[0])
				case d.json:
					return printJSON(c.OutOrStdout(), ended)
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "sessions of %s ended: %d\n", args[0], len(ended))
				return err
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "what the clients are told, ASCII")
	return c
}
