package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// errDamage ends fsck with status 1: its output has told the rest.
var errDamage = errors.New("damage was found and not repaired")

func newFsck() *cobra.Command {
	d := &door{}
	req := &storev1.CheckRequest{}
	var ledger bool
	c := &cobra.Command{
		Use:   "fsck [ACCOUNT…]",
		Short: "Check mailboxes against their messages and bodies; exit status 1 if damage is left",
		Long: `Check, while mail goes on, that every entry of every mailbox has its message, that every message has its frame in the blob
store, that counters are right, that what is kept for undelete is there, and that nothing lies around that no folder names, or
that a folder has which is not there itself.
Without ACCOUNT all accounts are looked through, and then every accepted recipient is accounted for, by what the blob store, the
ledger and the mailboxes hold: see "mailfarm audit". With --bodies that too looks again at what was found settled before.

--bodies reads all bodies too and compares their digests and part indexes. --repair counts counters anew, makes part indexes
anew, and files messages that nothing names, or whose folder is lost, in the folder "Recovered". It removes nothing but entries
whose message has no row and is lost, and tells them; what else cannot be mended stays and is told.

The exit status is 0 where all is well or was repaired, 1 where damage is left, 2 after an error. One that was cut off says
how it goes on.`,
		Example: "  mailfarm fsck\n  mailfarm fsck alice@example.org --bodies\n  mailfarm fsck --repair --json",
		RunE: func(c *cobra.Command, args []string) error {
			conn, err := d.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			for _, a := range args {
				id, err := keptAccount(c.Context(), conn, a)
				if err != nil {
					return err
				}
				req.Accounts = append(req.Accounts, id)
			}
			stream, err := storev1.NewChecksClient(conn).Check(c.Context(), req)
			if err != nil {
				return err
			}
			result, err := d.readFsck(c.OutOrStdout(), stream.Recv, len(args) == 0)
			if err != nil {
				return err
			}
			if ledger && len(args) == 0 {
				if err := result.audit(c.Context(), conn, req.Bodies); err != nil {
					return err
				}
			}
			if err := d.printFsck(c.OutOrStdout(), result); err != nil {
				return err
			}
			if result.Left > 0 {
				return errDamage
			}
			return nil
		},
	}
	d.flags(c)
	f := c.Flags()
	f.BoolVar(&req.Bodies, "bodies", false, "read all bodies and compare their digests and part indexes")
	f.Int64Var(&req.Rate, "rate", 32<<20, "with --bodies: read at most so many octets a second")
	f.BoolVar(&req.Repair, "repair", false, "mend what can be mended without losing anything")
	f.BoolVar(&ledger, "ledger", true, "without ACCOUNT: account for every accepted recipient too")
	f.Uint64Var(&req.After, "after", 0, "go on behind this account's id, as one that was cut off says")
	return c
}

type checkFindingJSON struct {
	Account  uint64 `json:"account,string"`
	Folder   string `json:"folder"`
	What     string `json:"what"`
	Detail   string `json:"detail"`
	Repaired string `json:"repaired,omitempty"`
}

// checkJSON is what fsck found. Ledger is what became of accepted recipients, where that was looked at; Left counts what was not
// repaired, of recipients those that are unaccounted for.
type checkJSON struct {
	Accounts uint64             `json:"accounts"`
	Messages uint64             `json:"messages"`
	Bodies   uint64             `json:"bodies"`
	Octets   uint64             `json:"octets"`
	Left     int                `json:"left"`
	Findings []checkFindingJSON `json:"findings"`
	Ledger   *auditJSON         `json:"ledger,omitempty"`
}

// readFsck prints findings as they come, unless it is as JSON, and tells what was looked at.
func (d *door) readFsck(w io.Writer, recv func() (*storev1.CheckResponse, error), all bool) (r *checkJSON, err error) {
	show := term.IsTerminal(int(os.Stderr.Fd())) && !d.json
	last := &storev1.CheckResponse{}
	r = &checkJSON{Findings: []checkFindingJSON{}}
	for !last.Done {
		resp, err := recv()
		if err != nil {
			if all && last.Account != 0 {
				err = fmt.Errorf("%w (go on with --after %d)", err, last.Account)
			}
			return r, err
		}
		for _, f := range resp.Findings {
			if f.Repaired == "" {
				r.Left++
			}
			r.Findings = append(r.Findings, checkFindingJSON{f.Account, f.Folder, f.What, f.Detail, f.Repaired})
			if d.json {
				continue
			}
			fmt.Fprintf(w, "account %d %s: %s: %s", f.Account, f.Folder, f.What, f.Detail)
			if f.Repaired != "" {
				fmt.Fprintf(w, ": repaired: %s", f.Repaired)
			}
			fmt.Fprintln(w)
		}
		if last = resp; show {
			fmt.Fprintf(os.Stderr, "\r%d accounts, %d messages, %d bodies", last.Accounts, last.Messages, last.Bodies)
		}
	}
	if show {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	r.Accounts, r.Messages, r.Bodies, r.Octets = last.Accounts, last.Messages, last.Bodies, last.Octets
	return r, nil
}

// audit accounts for recipients.
func (r *checkJSON) audit(ctx context.Context, conn *grpc.ClientConn, full bool) error {
	ctx, cancel := context.WithTimeout(ctx, auditTime)
	defer cancel()
	resp, err := storev1.NewQueueClient(conn).Audit(ctx, &storev1.AuditRequest{Full: full})
	if err != nil {
		return fmt.Errorf("account for recipients: %w", err)
	}
	a := auditOf(resp)
	r.Ledger = &a
	r.Left += int(resp.Unaccounted)
	return nil
}

func (d *door) printFsck(w io.Writer, r *checkJSON) error {
	if d.json {
		return printJSON(w, r)
	}
	if r.Ledger != nil {
		for _, f := range r.Ledger.Findings {
			fmt.Fprintf(w, "queue id %s recipient %d: %s\n", f.QueueID, f.Recipient, f.Problem)
		}
		fmt.Fprintf(w, "%d recipients accepted: %d unaccounted for\n", r.Ledger.Accepted, r.Ledger.Unaccounted)
	}
	_, err := fmt.Fprintf(w, "%d accounts, %d messages, %d bodies of %d octets read: %d findings, %d left\n",
		r.Accounts, r.Messages, r.Bodies, r.Octets, len(r.Findings), r.Left)
	return err
}
