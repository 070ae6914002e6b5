package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mailfarm/mailfarm/internal/archive"
	"github.com/mailfarm/mailfarm/internal/exporter"
	"github.com/mailfarm/mailfarm/internal/mbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

func newExport() *cobra.Command {
	d := &door{}
	run := &exporter.Run{}
	format, dialect := "", "mboxrd"
	c := &cobra.Command{
		Use:   "export ACCOUNT PATH",
		Short: "Write an account's mail to a Maildir, mbox files or a zip file; exit status 1 if messages were left",
		Long: `Write the mail of an account to PATH: a Maildir with Maildir++ folders (the default), a tree of mbox files, or a zip file
of one (the default where PATH ends in .zip).

What is written imports again, by ` + "`mailfarm import`" + ` or by other programs, with flags, keywords, dates, UIDs and UIDVALIDITY. A Maildir
keeps every octet of every message; mbox does not keep lines that end otherwise than in CRLF, and the report counts such messages.
Subscriptions are in a Maildir only. A folder whose name is too long for files, or that a Maildir cannot have, is called otherwise
there; the report tells that, and an import gives it its name again.

An export that was cut off is given again and goes on; messages that are gone here since stay there. To a Maildir it can be
given at any time, and brings flags up to date. Files of mbox have their names once they are whole, beside them lies a journal
until the export ends, and within a week that is gone on with; afterwards, and behind an export that ended, they are written anew.
A zip file is packed at the end, of mbox files in PATH.parts: they need as much room as the mail meanwhile.

The exit status is 0 where all was written, 1 where messages were left (the report says which and why), 2 after an error.`,
		Example: `  mailfarm export alice@example.org /backup/alice
  mailfarm export alice@example.org alice.zip --folder INBOX --folder Work
  mailfarm export alice@example.org /tmp/alice --format mbox --dialect mboxcl2`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if format == "" {
				format = string(archive.Maildir)
				if strings.HasSuffix(strings.ToLower(args[1]), ".zip") {
					format = string(archive.Zip)
				}
			}
			how, err := archive.ParseFormat(format)
			if err != nil || how == archive.Auto {
				return fmt.Errorf("--format: %q is no format to write: there are maildir, mbox and zip", format)
			}
			which, err := mbox.ParseDialect(dialect)
			if err != nil || which == mbox.Auto {
				return fmt.Errorf("--dialect: %q is no dialect to write: there are mboxo, mboxrd, mboxcl and mboxcl2", dialect)
			}
			conn, err := d.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			if run.Account, err = keptAccount(c.Context(), conn, args[0]); err != nil {
				return err
			}
			run.Mailboxes, run.Bodies, run.Imports = storev1.NewMailboxesClient(conn), storev1.NewBodiesClient(conn), storev1.NewImportsClient(conn)
			who, err := directoryv1.NewRemovedAccountsClient(conn).Who(c.Context(), &directoryv1.WhoRequest{Ids: []uint64{run.Account}})
			if err != nil {
				return fmt.Errorf("look up the address of account %d: %w", run.Account, err)
			}
			of, err := d.exportOf(run.Account, strings.Join(who.GetAddresses(), ""))
			if err != nil {
				return err
			}
			w, err := archive.Create(args[1], how, which, of)
			if err != nil {
				return fmt.Errorf("write %s: %w", args[1], err)
			}
			show := term.IsTerminal(int(os.Stderr.Fd())) && !d.json
			if show {
				run.Progress = func(r *exporter.Report) {
					fmt.Fprintf(os.Stderr, "\r\x1b[K%s: %d written, %d there already, %d left", oneLine(r.Folders[len(r.Folders)-1].Folder, 40),
						r.Written, r.Present, len(r.Left))
				}
			}
			report, err := run.Export(c.Context(), w)
			if show {
				fmt.Fprint(os.Stderr, "\r\x1b[K")
			}
			if err != nil {
				w.Abort()
				return fmt.Errorf("%w: give the same command again to go on", err)
			}
			return d.printExported(c.OutOrStdout(), report)
		},
	}
	d.flags(c)
	f := c.Flags()
	f.StringArrayVar(&run.Folders, "folder", nil, "only this folder with all below it; may be given more than once")
	f.StringVar(&format, "format", "", "what to write: maildir, mbox or zip")
	f.StringVar(&dialect, "dialect", dialect, "the dialect of mbox: mboxo, mboxrd, mboxcl or mboxcl2")
	return c
}

// exportOf tells whose mail an export writes. A farm that was restored from another's backup has the same accounts and UIDVALIDITYs,
// and other messages since, so that it tells the address, empty for an account that was removed, and the door as well.
func (d *door) exportOf(account uint64, address string) (string, error) {
	door := d.target
	if door == "" {
		data, err := filepath.Abs(d.data)
		if err != nil {
			return "", fmt.Errorf("find --data %s: %w", d.data, err)
		}
		door = "the socket in " + data
	}
	return fmt.Sprintf("account %d, %q, at %s", account, address, door), nil
}

func (d *door) printExported(w io.Writer, r *exporter.Report) error {
	left := error(nil)
	if len(r.Left) > 0 {
		left = errLeft
	}
	if d.json {
		r.Left, r.Notes = append([]exporter.Left{}, r.Left...), append([]string{}, r.Notes...)
		if err := printJSON(w, r); err != nil {
			return err
		}
		return left
	}
	var rows [][]string
	for _, f := range r.Folders {
		rows = append(rows, []string{f.Folder, fmt.Sprint(f.Messages), fmt.Sprint(f.UIDValidity)})
	}
	if err := table(w, "FOLDER\tMESSAGES\tUIDVALIDITY", rows); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d messages written (%d octets); %d were there already, %d left\n", r.Written, r.Octets, r.Present, len(r.Left))
	if r.Changed > 0 {
		fmt.Fprintf(w, "of %d messages the format cannot keep every octet: --format maildir does\n", r.Changed)
	}
	for i, l := range r.Left {
		if i == listedLeft {
			fmt.Fprintf(w, "left: %d more, with --json\n", len(r.Left)-i)
			break
		}
		where := oneLine(l.Folder, 200)
		if l.UID != 0 {
			where += fmt.Sprintf(", UID %d", l.UID)
		}
		fmt.Fprintf(w, "left: %s: %s\n", where, oneLine(l.Why, 200))
	}
	printLeft(w, nil, nil, r.Notes)
	return left
}
