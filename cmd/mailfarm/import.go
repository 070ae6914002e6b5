package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mailfarm/mailfarm/internal/archive"
	"github.com/mailfarm/mailfarm/internal/importer"
	"github.com/mailfarm/mailfarm/internal/mbox"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// errLeft is an import or an export that left messages; they are in its report.
var errLeft = errors.New("messages were left")

func newImport() *cobra.Command {
	d := &door{}
	run := &importer.Run{}
	format, dialect := "auto", "auto"
	c := &cobra.Command{
		Use:   "import ACCOUNT PATH",
		Short: "Bring mail from mbox files, Maildirs or zip files into an account; exit status 1 if messages were left",
		Long: `Bring the mail that lies at PATH into an account's folders: an mbox file or a tree of them (as Thunderbird, KMail, Apple
Mail and Dovecot keep them), a Maildir with its Maildir++ folders, or a zip file of any of these. What it is, and which of the
four dialects an mbox has, is found out and told.

Flags, keywords, dates and subscriptions come along; UIDs and UIDVALIDITY too where the folder here has no messages yet, so that
clients need not download anything again, and the unique ids of POP3 where the source knows them.

A repeat brings nothing twice, also after a kill at any point: one that was cut off is simply given again. The same mail in
another form, as a Maildir that was an mbox, is known for what it is, and so is mail that came into the folder otherwise. Two copies
of a message in one folder stay two, and so do messages that share a Message-ID and say different things. What was brought before and removed here since stays removed, unless --again is given.

The exit status is 0 where all was brought, 1 where messages were left (the report says which and why), 2 after an error.`,
		Example: `  mailfarm import alice@example.org /var/mail/alice
  mailfarm import alice@example.org ~alice/Maildir --dry-run
  mailfarm import alice@example.org old.zip --into "Archive/Old server"
  mailfarm import alice@example.org list.mbox --into Lists/golang --dialect mboxrd`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			var opts archive.Options
			var err error
			if opts.Format, err = archive.ParseFormat(format); err != nil {
				return fmt.Errorf("--format: %w", err)
			}
			if opts.Dialect, err = mbox.ParseDialect(dialect); err != nil {
				return fmt.Errorf("--dialect: %w", err)
			}
			conn, err := d.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			if run.Account, err = accountID(c.Context(), conn, args[0]); err != nil {
				return err
			}
			a, err := archive.Open(args[1], opts)
			if err != nil {
				return fmt.Errorf("read %s: %w", args[1], err)
			}
			defer a.Close()
			run.Imports, run.Mailboxes, run.Bodies = storev1.NewImportsClient(conn), storev1.NewMailboxesClient(conn), storev1.NewBodiesClient(conn)
			show := term.IsTerminal(int(os.Stderr.Fd())) && !d.json
			if show {
				run.Progress = func(r *importer.Report) {
					fmt.Fprintf(os.Stderr, "\r\x1b[K%s: %d read, %d brought, %d there already, %d left", oneLine(r.Folders[len(r.Folders)-1].Folder, 40),
						r.Messages, r.Filed, r.Present+r.Removed, r.Skipped)
				}
			}
			report, err := run.Import(c.Context(), a)
			if show {
				fmt.Fprint(os.Stderr, "\r\x1b[K")
			}
			report.Sum()
			if err != nil {
				if report.Filed > 0 {
					return fmt.Errorf("%w (%d messages are brought already: give the same command again to go on)", err, report.Filed)
				}
				return err
			}
			return d.printImported(c.OutOrStdout(), report)
		},
	}
	d.flags(c)
	f := c.Flags()
	f.StringVar(&run.Into, "into", "", "put all into this folder, or below it where there are several")
	f.StringVar(&format, "format", format, "what PATH is: auto, mbox, maildir or zip")
	f.StringVar(&dialect, "dialect", dialect, "the dialect of mbox: auto, mboxo, mboxrd, mboxcl or mboxcl2")
	f.BoolVar(&run.DryRun, "dry-run", false, "only tell what would be brought")
	f.BoolVar(&run.OverQuota, "over-quota", false, "bring messages also where the account has no room for them")
	f.BoolVar(&run.Again, "again", false, "bring back what was brought before and removed here since")
	return c
}

// listedLeft is how many messages that were left are printed for people; --json tells more.
const listedLeft = 50

func (d *door) printImported(w io.Writer, r *importer.Report) error {
	left := error(nil)
	if r.Skipped > 0 {
		left = errLeft
	}
	if d.json {
		r.Left, r.Notes = append([]importer.Left{}, r.Left...), append([]string{}, r.Notes...)
		if err := printJSON(w, r); err != nil {
			return err
		}
		return left
	}
	var rows [][]string
	for _, f := range r.Folders {
		uids := "new"
		if f.UIDsKept {
			uids = "kept"
			if f.UIDsChanged > 0 {
				uids = fmt.Sprintf("kept but %d", f.UIDsChanged)
			}
		}
		rows = append(rows, []string{f.Folder, f.Kind, fmt.Sprint(f.Messages), fmt.Sprint(f.Filed), fmt.Sprint(f.Present), fmt.Sprint(f.Removed), fmt.Sprint(f.Skipped), uids})
	}
	if err := table(w, "FOLDER\tFROM\tFOUND\tBROUGHT\tTHERE\tREMOVED\tLEFT\tUIDS", rows); err != nil {
		return err
	}
	what := "brought"
	if r.DryRun {
		what = "would be brought"
	}
	fmt.Fprintf(w, "%d messages %s (%d octets); %d were there already, %d were brought before and removed since, %d left\n",
		r.Filed, what, r.Octets, r.Present, r.Removed, r.Skipped)
	printLeft(w, r.Left, r.Reasons, r.Notes)
	return left
}

// printLeft tells what was left and why, and notes.
func printLeft(w io.Writer, left []importer.Left, reasons map[string]int, notes []string) {
	for i, l := range left {
		if i == listedLeft {
			fmt.Fprintf(w, "left: %d more, of these reasons:\n", len(left)-i)
			var all []string
			for why, n := range reasons {
				all = append(all, fmt.Sprintf("  %s: %d", oneLine(why, 120), n))
			}
			slices.Sort(all)
			for _, line := range all {
				fmt.Fprintln(w, line)
			}
			break
		}
		fmt.Fprintf(w, "left: %s: %s\n", oneLine(l.Where, 200), oneLine(l.Why, 200))
	}
	for i, n := range notes {
		if i == listedLeft {
			fmt.Fprintf(w, "note: %d more, with --json\n", len(notes)-i)
			break
		}
		fmt.Fprintf(w, "note: %s\n", oneLine(n, 300))
	}
}
