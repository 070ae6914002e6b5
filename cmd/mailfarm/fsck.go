package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// errDamage ends fsck with status 1: its output has told the rest.
var errDamage = errors.New("damage was found and not repaired")

func newFsck() *cobra.Command {
	d := &door{}
	req := &storev1.CheckRequest{}
	c := &cobra.Command{
		Use:   "fsck [ACCOUNT…]",
		Short: "Check mailboxes against their messages and bodies; exit status 1 if damage is left",
		Long: `Check, while mail goes on, that every entry of every mailbox has its message, that every message has its frame in the blob
store, that counters are right, that what is kept for undelete is there, and that nothing lies around that no folder names.
Without ACCOUNT all accounts are looked through. Whether every accepted recipient is accounted for is "mailfarm audit".

--bodies reads all bodies too and compares their digests. --repair counts counters anew, makes part indexes anew, and files
messages that nothing names in the folder "Recovered"; it removes nothing, so that what cannot be mended stays and is told.

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
			left, err := d.printFsck(c.OutOrStdout(), stream.Recv, len(args) == 0)
			if err == nil && left > 0 {
				err = errDamage
			}
			return err
		},
	}
	d.flags(c)
	f := c.Flags()
	f.BoolVar(&req.Bodies, "bodies", false, "read all bodies and compare their digests")
	f.Int64Var(&req.Rate, "rate", 32<<20, "with --bodies: read at most so many octets a second")
	f.BoolVar(&req.Repair, "repair", false, "mend what can be mended without losing anything")
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

// printFsck prints findings as they come, and in the end what was looked at. left counts those that were not repaired.
func (d *door) printFsck(w io.Writer, recv func() (*storev1.CheckResponse, error), all bool) (left int, err error) {
	show := term.IsTerminal(int(os.Stderr.Fd())) && !d.json
	last := &storev1.CheckResponse{}
	list := []checkFindingJSON{}
	for !last.Done {
		resp, err := recv()
		if err != nil {
			if all && last.Account != 0 {
				err = fmt.Errorf("%w (go on with --after %d)", err, last.Account)
			}
			return left, err
		}
		for _, f := range resp.Findings {
			if f.Repaired == "" {
				left++
			}
			list = append(list, checkFindingJSON{f.Account, f.Folder, f.What, f.Detail, f.Repaired})
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
	if d.json {
		return left, printJSON(w, struct {
			Accounts uint64             `json:"accounts"`
			Messages uint64             `json:"messages"`
			Bodies   uint64             `json:"bodies"`
			Octets   uint64             `json:"octets"`
			Left     int                `json:"left"`
			Findings []checkFindingJSON `json:"findings"`
		}{last.Accounts, last.Messages, last.Bodies, last.Octets, left, list})
	}
	_, err = fmt.Fprintf(w, "%d accounts, %d messages, %d bodies of %d octets read: %d findings, %d left\n",
		last.Accounts, last.Messages, last.Bodies, last.Octets, len(list), left)
	return left, err
}
