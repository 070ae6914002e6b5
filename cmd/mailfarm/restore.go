package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailfarm/mailfarm/internal/backup"
	"github.com/mailfarm/mailfarm/internal/backup/repo"
	"github.com/mailfarm/mailfarm/internal/mailbox"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// restoring are the flags of restore's verbs.
type restoring struct {
	repoFlags
	door
	from, at    string
	skipDamaged bool
}

func newRestore() *cobra.Command {
	r := &restoring{}
	c := group("restore", "Bring back from a backup all of a farm, an account, a folder or a message, while the farm runs")
	r.repoFlags.flags(c)
	r.door.flags(c)
	c.PersistentFlags().StringVar(&r.from, "from", "", "the repository: a folder, or s3://BUCKET/PREFIX")
	c.PersistentFlags().StringVar(&r.at, "at", "", `go by the latest backup of this time: "2026-11-21 10:00", or how long ago, as "36h" or "3d"; default the latest`)
	c.PersistentFlags().BoolVar(&r.skipDamaged, "skip-damaged", false, "file a word in the place of messages whose bodies are damaged in the repository, and go on")
	c.AddCommand(r.all(), r.account(), r.folder(), r.message(), r.list())
	return c
}

// snapshot opens the repository and finds the backup to go by.
func (r *restoring) snapshot(ctx context.Context, f func(*repo.Repo, *repo.Snapshot) error) error {
	if r.from == "" {
		return errors.New("--from REPOSITORY: which backup?")
	}
	at := time.Time{}
	if r.at != "" {
		var err error
		if at, err = moment(r.at, time.Now()); err != nil {
			return err
		}
	}
	return r.with(ctx, r.from, false, false, func(rep *repo.Repo) error {
		snap, err := rep.At(ctx, at)
		if err != nil {
			return err
		}
		return f(rep, snap)
	})
}

// run restores by f.
func (r *restoring) run(c *cobra.Command, f func(context.Context, *repo.Snapshot, backup.RestoreDeps) (*backup.Restored, error)) error {
	conn, err := r.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return r.snapshot(c.Context(), func(rep *repo.Repo, snap *repo.Snapshot) error {
		p := newProgress(r.json)
		out, err := f(c.Context(), snap, backup.RestoreDeps{
			Store: storev1.NewBackupsClient(conn), Mailboxes: storev1.NewMailboxesClient(conn), Imports: storev1.NewImportsClient(conn),
			Directory: directoryv1.NewBackupsClient(conn), Names: directoryv1.NewDirectoryClient(conn), Accounts: directoryv1.NewAccountsClient(conn),
			Removed: directoryv1.NewRemovedAccountsClient(conn), Retention: storev1.NewRetentionClient(conn), Repo: rep, SkipDamaged: r.skipDamaged,
			Say: func(at backup.Restored) {
				p.say("%d accounts, %d messages, %s", at.Accounts+at.Merged, at.Messages, octets(at.Octets))
			},
		})
		p.end()
		if errors.Is(err, backup.ErrDamaged) {
			return fmt.Errorf("%w; another copy of the repository may have it; --skip-damaged files a word in its place and goes on", err)
		}
		if err != nil {
			if out != nil && out.Messages > 0 {
				err = fmt.Errorf("%w (%d messages are restored already: give the same command again to go on)", err, out.Messages)
			}
			return err
		}
		return printRestored(c.OutOrStdout(), r.json, snap, out)
	})
}

// maxRulesTold bounds the lines about rules that came back.
const maxRulesTold = 20

func printRestored(w io.Writer, asJSON bool, snap *repo.Snapshot, out *backup.Restored) error {
	if asJSON {
		return printJSON(w, struct {
			Snapshot string `json:"snapshot"`
			*backup.Restored
		}{snap.Name, out})
	}
	for _, text := range out.Conflicts {
		fmt.Fprintln(w, text)
	}
	for i, name := range out.Rules {
		if i == maxRulesTold {
			fmt.Fprintf(w, "brought back: %d more rules and limits of domains (--json tells all)\n", len(out.Rules)-i)
			break
		}
		fmt.Fprintf(w, "brought back: %s\n", name)
	}
	fmt.Fprintf(w, "%d messages restored, %s, by the backup of %s; %d were there\n", out.Messages, octets(out.Octets), when(snap.Began.UnixNano()), out.Present)
	if out.Accounts > 0 {
		fmt.Fprintf(w, "%d accounts are as they were; %d got what they lacked\n", out.Accounts, out.Merged)
	}
	if out.Unreadable > 0 {
		fmt.Fprintf(w, "%d messages have no whole body in the backup: a word says so in their place\n", out.Unreadable)
	}
	if out.Queued > 0 {
		fmt.Fprintf(w, "%d messages are held in the queue: look at them (mailfarm queue list --state held), and let them go (mailfarm queue release)\n", out.Queued)
	}
	return nil
}

func (r *restoring) all() *cobra.Command {
	return &cobra.Command{
		Use:   "all --from REPOSITORY",
		Short: "Restore everything: into a farm that is empty, or what one lacks",
		Long: `Restore everything into a running farm: domains, accounts with their passwords, aliases, groups, mailboxes with ids, UIDs,
flags and what was deleted and is kept, limits and rules of domains and of all, and the queue.

Accounts that the farm does not have become as they were; IMAP clients go on where they were. Accounts that live get the
messages and folders that they lack; their rules and legal holds stay as they are. Where the backup has a rule or a hold that the
farm does not have, or has in another way, that is told. Of the queue nothing goes out before it is released (mailfarm queue release): what
was sent since the backup would be sent twice.

A repeat restores nothing twice: one that was cut off is simply given again.`,
		Example: `  mailfarm restore all --from /backup/mail
  mailfarm restore all --from s3://backups/mail --s3-endpoint https://s3.example.org --at "2026-11-21 10:00"`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return r.run(c, backup.All) },
	}
}

func (r *restoring) account() *cobra.Command {
	var as string
	c := &cobra.Command{
		Use:   "account ADDRESS --from REPOSITORY",
		Short: "Restore an account, or what it lacks, or its mail into another account",
		Long: `Restore an account that the farm does not have as it was: with its id and password, UIDs, flags, what was deleted and is kept, rights,
limits, rules and legal hold. One that lives, or the one of --as, gets the messages and folders that it lacks. Its rights, limits,
rules of retention and expiry and legal hold stay as they are; where the backup has a rule or a hold that it does not
have, or has in another way, that is told with the command to set it.

A repeat restores nothing twice: one that was cut off is simply given again.`,
		Example: `  mailfarm restore account alice@example.org --from /backup/mail
  mailfarm restore account alice@example.org --from /backup/mail --at 3d --as alice.before@example.org`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return r.run(c, func(ctx context.Context, snap *repo.Snapshot, deps backup.RestoreDeps) (*backup.Restored, error) {
				return backup.Account(ctx, snap, deps, args[0], as)
			})
		},
	}
	c.Flags().StringVar(&as, "as", "", "put all into the account of this address, which is made with the old password where it is not there")
	return c
}

func (r *restoring) folder() *cobra.Command {
	var into string
	c := &cobra.Command{
		Use:   "folder ADDRESS FOLDER --from REPOSITORY",
		Short: "Restore the messages that a folder lacks, or all that it had into another one",
		Long: `Restore the messages that a folder of an account that lives lacks, with flags and dates; the folder is made where it is not
there. With --into all that it had goes to another folder. A repeat restores nothing twice.`,
		Example: `  mailfarm restore folder alice@example.org Work/2026 --from /backup/mail
  mailfarm restore folder alice@example.org INBOX --from /backup/mail --at "2026-11-20" --into "INBOX of Friday"`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return r.run(c, func(ctx context.Context, snap *repo.Snapshot, deps backup.RestoreDeps) (*backup.Restored, error) {
				return backup.Folder(ctx, snap, deps, args[0], args[1], into)
			})
		},
	}
	c.Flags().StringVar(&into, "into", "", "the folder to put them into; it is made where it is not there")
	return c
}

func (r *restoring) message() *cobra.Command {
	var into string
	c := &cobra.Command{
		Use:     "message ADDRESS MESSAGE --from REPOSITORY",
		Short:   "Restore one message, by its id as `mailfarm restore list` tells it",
		Long:    "Restore one message into the folder where it was, or --into another. One that is there already is not filed twice.",
		Example: "  mailfarm restore message alice@example.org MDOnNkgWAAAA --from /backup/mail --into INBOX",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := mailbox.ParseObjectID('M', args[1])
			if err != nil {
				return fmt.Errorf("%w: take one from `mailfarm restore list ADDRESS FOLDER`", err)
			}
			return r.run(c, func(ctx context.Context, snap *repo.Snapshot, deps backup.RestoreDeps) (*backup.Restored, error) {
				return backup.Message(ctx, snap, deps, args[0], id, into)
			})
		},
	}
	c.Flags().StringVar(&into, "into", "", "the folder to put it into (default the one where it was)")
	return c
}

func (r *restoring) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list ADDRESS [FOLDER] --from REPOSITORY",
		Short: "List the folders of an account in a backup, or the messages of one",
		Example: `  mailfarm restore list alice@example.org --from /backup/mail
  mailfarm restore list alice@example.org INBOX --from /backup/mail --at 3d --json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			return r.snapshot(c.Context(), func(rep *repo.Repo, snap *repo.Snapshot) error {
				if len(args) == 1 {
					return r.folders(c, rep, snap, args[0])
				}
				return r.messages(c, rep, snap, args[0], args[1])
			})
		},
	}
}

func (r *restoring) folders(c *cobra.Command, rep *repo.Repo, snap *repo.Snapshot, address string) error {
	list, err := backup.Folders(c.Context(), snap, rep, address)
	if err != nil {
		return err
	}
	if r.json {
		return printJSON(c.OutOrStdout(), list)
	}
	var rows [][]string
	for _, f := range list {
		rows = append(rows, []string{f.Name, fmt.Sprint(f.Messages), octets(f.Octets)})
	}
	return table(c.OutOrStdout(), "FOLDER\tMESSAGES\tSIZE", rows)
}

type shownJSON struct {
	ID string `json:"id"`
	backup.ShownMessage
}

func (r *restoring) messages(c *cobra.Command, rep *repo.Repo, snap *repo.Snapshot, address, folder string) error {
	list, rows := []shownJSON{}, [][]string{}
	err := backup.Messages(c.Context(), snap, rep, address, folder, func(m backup.ShownMessage) error {
		id := mailbox.ObjectID('M', m.Email)
		list = append(list, shownJSON{id, m})
		rows = append(rows, []string{id, fmt.Sprint(m.UID), m.Received, octets(m.Size), oneLine(m.From, 40), oneLine(m.Subject, 60)})
		return nil
	})
	if err != nil {
		return err
	}
	if r.json {
		return printJSON(c.OutOrStdout(), list)
	}
	return table(c.OutOrStdout(), "MESSAGE\tUID\tRECEIVED\tSIZE\tFROM\tSUBJECT", rows)
}
