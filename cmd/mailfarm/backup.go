package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mailfarm/mailfarm/internal/backup"
	"github.com/mailfarm/mailfarm/internal/backup/repo"
	directoryv1 "github.com/mailfarm/mailfarm/proto/mailfarm/directory/v1"
	storev1 "github.com/mailfarm/mailfarm/proto/mailfarm/store/v1"
)

// repoFlags say how a repository is reached.
type repoFlags struct {
	s3   repo.S3Config
	temp string
	// identity and encryptTo are files of keys.
	identity, encryptTo string
}

func (r *repoFlags) flags(c *cobra.Command) {
	f := c.PersistentFlags()
	f.StringVar(&r.s3.Endpoint, "s3-endpoint", os.Getenv("AWS_ENDPOINT_URL"), "where the S3 server of s3://BUCKET/PREFIX is (AWS_ENDPOINT_URL)")
	f.StringVar(&r.s3.Region, "s3-region", os.Getenv("AWS_REGION"), "its region (AWS_REGION)")
	f.StringVar(&r.s3.CAFile, "s3-ca", "", "file with the authority of its certificate")
	f.StringVar(&r.identity, "identity", "", "file with the secret key of an encrypted repository, as age-keygen makes it; what is written is encrypted to it")
	f.StringVar(&r.temp, "temp", "", "folder for packs while they are made (default the system's)")
}

// backend is a place, which is encrypted where there is a key.
func (r *repoFlags) backend(ctx context.Context, where string, create bool) (repo.Backend, error) {
	if r.encryptTo != "" && r.identity == "" {
		return nil, errors.New("--encrypt-to also needs --identity FILE: a run reads what the earlier ones have written")
	}
	b, err := r.place(ctx, where, create)
	if err != nil || r.identity == "" {
		return b, err
	}
	return r.seal(b)
}

// told adds what to do about a repository that is encrypted.
func (r *repoFlags) told(err error) error {
	if errors.Is(err, repo.ErrSealed) && r.identity == "" {
		return fmt.Errorf("%w: give --identity FILE", err)
	}
	return err
}

// place takes a path, or s3://BUCKET/PREFIX.
func (r *repoFlags) place(ctx context.Context, where string, create bool) (repo.Backend, error) {
	rest, ok := strings.CutPrefix(where, "s3://")
	if !ok {
		return repo.OpenDir(where, create)
	}
	cfg := r.s3
	cfg.Bucket, cfg.Prefix, _ = strings.Cut(rest, "/")
	if cfg.Prefix != "" {
		cfg.Prefix = strings.TrimSuffix(cfg.Prefix, "/") + "/"
	}
	cfg.AccessKey, cfg.SecretKey = os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	switch {
	case cfg.Endpoint == "":
		return nil, errors.New("where is the S3 server? give --s3-endpoint https://HOST")
	case cfg.AccessKey == "" || cfg.SecretKey == "":
		return nil, errors.New("the bucket's keys are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, which are not set")
	}
	return repo.OpenS3(ctx, cfg)
}

// seal reads the keys.
func (r *repoFlags) seal(b repo.Backend) (repo.Backend, error) {
	identity, err := os.Open(r.identity)
	if err != nil {
		return nil, fmt.Errorf("--identity: %w", err)
	}
	defer identity.Close()
	var to io.Reader
	if r.encryptTo != "" {
		f, err := os.Open(r.encryptTo)
		if err != nil {
			return nil, fmt.Errorf("--encrypt-to: %w", err)
		}
		defer f.Close()
		to = f
	}
	return repo.Seal(b, identity, to, r.temp)
}

// with opens a repository for f, which writes to it alone where write says so.
func (r *repoFlags) with(ctx context.Context, where string, write, create bool, f func(*repo.Repo) error) (err error) {
	b, err := r.backend(ctx, where, create)
	if err != nil {
		return err
	}
	if write {
		release, err := b.Lock(ctx)
		if err != nil {
			return fmt.Errorf("repository %s: %w", b, err)
		}
		defer func() { err = first(err, release()) }()
	}
	rep, err := repo.Open(ctx, b)
	if err != nil {
		return r.told(err)
	}
	rep.Temp = r.temp
	return first(f(rep), rep.Close())
}

// first is the first error of all; execute tells some by what they are.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func newBackup() *cobra.Command {
	c := group("backup", "Copy all that the farm keeps into a repository, and look after the repository")
	r := &repoFlags{}
	r.flags(c)
	c.PersistentFlags().StringVar(&r.encryptTo, "encrypt-to", "", "file with public keys (age1…) that can read what is written as well, as of a key that is kept elsewhere")
	c.AddCommand(backupRun(r), backupList(r), backupVerify(r), backupPrune(r))
	return c
}

func backupRun(r *repoFlags) *cobra.Command {
	d := &door{}
	var rate, textfile string
	c := &cobra.Command{
		Use:   "run REPOSITORY",
		Short: "Make a backup of the running farm",
		Long: `Make a backup of the running farm: directory, mailboxes with all that clients know of them, messages, what was deleted and
is kept, limits and rules of domains and of all, and the queue. REPOSITORY is a folder, which is made where it is not there, or s3://BUCKET/PREFIX.

Each backup is a full picture, and only what is new is written. One that is cut off leaves the earlier ones as they are;
run it again, and it makes use of what was written. README.txt in the repository tells how to read it with plain tools.

With --identity FILE all of it is encrypted, and only the secret key in that file reads it, or the age program with it.
Without the key nobody does: keep it elsewhere too, or give the public keys of another one by --encrypt-to, at every run.

It ends with status 1 where a message could not be read: all else is in the backup.`,
		Example: `  mailfarm backup run /backup/mail
  mailfarm backup run /backup/mail --rate 20M --textfile /var/lib/node_exporter/mailfarm.prom
  mailfarm backup run s3://backups/mail --s3-endpoint https://s3.example.org
  mailfarm backup run s3://backups/mail --identity /etc/mailfarm/backup.key --encrypt-to /etc/mailfarm/vault.pub`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			perSecond, err := octetsOf(rate)
			if err != nil {
				return fmt.Errorf("--rate: %w", err)
			}
			conn, err := d.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			return r.with(c.Context(), args[0], true, true, func(rep *repo.Repo) error {
				p := newProgress(d.json)
				result, err := backup.Run(c.Context(), backup.Config{Rate: perSecond, Version: version}, backup.Deps{
					Store: storev1.NewBackupsClient(conn), Bodies: storev1.NewBodiesClient(conn), Directory: directoryv1.NewBackupsClient(conn),
					Repo: rep, Now: time.Now, Say: func(at backup.Progress) {
						p.say("%d of %d accounts, %d messages copied, %s", at.Done, at.All, at.Bodies, octets(at.Octets))
					},
				})
				p.end()
				if err != nil {
					return fmt.Errorf("%w (run it again: what was written is made use of)", err)
				}
				if textfile != "" {
					if err := tellTime(textfile, result); err != nil {
						return err
					}
				}
				return printBackup(c.OutOrStdout(), d.json, result)
			})
		},
	}
	d.flags(c)
	c.Flags().StringVar(&rate, "rate", "", `how much is read a second at most, as "20M" (octets); default as fast as it goes`)
	c.Flags().StringVar(&textfile, "textfile", "", "file for node_exporter's textfile collector, to tell when the last good backup was")
	return c
}

func printBackup(w io.Writer, asJSON bool, r *backup.Result) error {
	if asJSON {
		if err := printJSON(w, r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(w, "%s: %d accounts (%d unchanged), %d messages, %d in the queue, %d rules and limits of domains and of all\n", r.Snapshot, r.Counts.Accounts, r.Accounts.Unchanged,
			r.Counts.Messages, r.Counts.Queued, r.Counts.Rules)
		fmt.Fprintf(w, "written: %d messages and %d lists, %s as %s in %d packs, in %.0f s\n", r.Written.Bodies, r.Written.Rows,
			octets(r.Written.Octets), octets(r.Written.Stored), r.Written.Packs, r.Seconds)
		if r.Apart != "" {
			fmt.Fprintf(w, "accounts are each as they were at a moment of their own, and not all at one: %s\n", oneLine(r.Apart, 200))
		}
		for _, m := range r.Missing {
			fmt.Fprintf(w, "cannot be read: account %d, message %d%s: %s\n", m.Account, m.Email, m.QueueID, m.Reason)
		}
	}
	if len(r.Missing) > 0 {
		return errDamage
	}
	return nil
}

// tellTime leaves what the alarm BackupOld looks at. It is written only behind a backup.
func tellTime(path string, r *backup.Result) error {
	text := fmt.Sprintf(`# HELP mailfarm_backup_last_success_timestamp_seconds When the last backup began that ended well.
# TYPE mailfarm_backup_last_success_timestamp_seconds gauge
mailfarm_backup_last_success_timestamp_seconds %d
# HELP mailfarm_backup_missing_messages Messages that the last backup could not read.
# TYPE mailfarm_backup_missing_messages gauge
mailfarm_backup_missing_messages %d
# HELP mailfarm_backup_seconds How long the last backup took.
# TYPE mailfarm_backup_seconds gauge
mailfarm_backup_seconds %g
`, r.Began.Unix(), len(r.Missing), r.Seconds)
	f, err := os.CreateTemp(filepath.Dir(path), ".mailfarm-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	// Another user's node_exporter reads it, and it tells nothing of anybody.
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

type snapshotJSON struct {
	Snapshot string      `json:"snapshot"`
	Began    time.Time   `json:"began"`
	Ended    time.Time   `json:"ended"`
	Version  string      `json:"version"`
	Counts   repo.Counts `json:"counts"`
	Missing  int         `json:"missing"`
}

func backupList(r *repoFlags) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "list REPOSITORY",
		Short:   "List the backups in a repository, the latest last",
		Example: "  mailfarm backup list /backup/mail --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			b, err := r.backend(c.Context(), args[0], false)
			if err != nil {
				return err
			}
			// What is in the packs is of no concern here.
			list, err := (&repo.Repo{Backend: b}).Snapshots(c.Context())
			if errors.Is(err, repo.ErrSealed) {
				return r.told(err)
			}
			out, rows := []snapshotJSON{}, [][]string{}
			for _, s := range list {
				out = append(out, snapshotJSON{s.Name, s.Began, s.Ended, s.Version, s.Counts, len(s.Missing)})
				rows = append(rows, []string{s.Name, when(s.Began.UnixNano()), fmt.Sprint(s.Counts.Accounts), fmt.Sprint(s.Counts.Messages),
					octets(s.Counts.Octets), fmt.Sprint(s.Counts.Queued), fmt.Sprint(s.Counts.Rules), fmt.Sprint(len(s.Missing))})
			}
			if asJSON {
				return errors.Join(err, printJSON(c.OutOrStdout(), out))
			}
			return errors.Join(err, table(c.OutOrStdout(), "SNAPSHOT\tOF\tACCOUNTS\tMESSAGES\tSIZE\tQUEUED\tRULES\tUNREADABLE", rows))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func backupVerify(r *repoFlags) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify REPOSITORY",
		Short: "Read a whole repository and compare every digest",
		Long: `Read a whole repository: each pack and each object in it is compared with the SHA-256 that it is named by, and all that
backups refer to must be there. It ends with status 1 where something is damaged.`,
		Example: "  mailfarm backup verify /backup/mail",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return r.with(c.Context(), args[0], false, false, func(rep *repo.Repo) error {
				p := newProgress(asJSON)
				v, err := rep.Verify(c.Context(), func(done, all int) { p.say("%d of %d packs", done, all) })
				p.end()
				if err != nil {
					return err
				}
				if asJSON {
					err = printJSON(c.OutOrStdout(), v)
				} else {
					for _, text := range v.Problems {
						fmt.Fprintln(c.OutOrStdout(), text)
					}
					_, err = fmt.Fprintf(c.OutOrStdout(), "%d backups, %d packs, %d objects of %s: %d problems\n", v.Snapshots, v.Packs, v.Objects, octets(v.Octets), len(v.Problems))
				}
				if err == nil && len(v.Problems) > 0 {
					err = errDamage
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func backupPrune(r *repoFlags) *cobra.Command {
	var asJSON bool
	var keep int
	c := &cobra.Command{
		Use:     "prune REPOSITORY --keep N",
		Short:   "Remove all backups but the latest, and what no other refers to",
		Example: "  mailfarm backup prune /backup/mail --keep 30",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if keep < 1 {
				return errors.New("--keep N: how many backups are to stay? one at least")
			}
			return r.with(c.Context(), args[0], true, false, func(rep *repo.Repo) error {
				out, err := rep.Prune(c.Context(), keep)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), out)
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "removed %d backups and %d packs; of %d packs something was kept\n", len(out.Snapshots), out.Packs, out.Rewritten)
				return err
			})
		},
	}
	c.Flags().IntVar(&keep, "keep", 0, "how many of the latest backups stay")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// octetsOf reads a size as "20M"; empty is 0.
func octetsOf(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	number, unit := strings.ToUpper(s), int64(1)
	for i, letter := range []string{"K", "M", "G"} {
		if n, ok := strings.CutSuffix(number, letter); ok {
			number, unit = n, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(number, 10, 40)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf(`%q is no number of octets: write it as "500K", "20M" or "1G"`, s)
	}
	return n * unit, nil
}

// progress is a line on a terminal that is written over.
type progress struct {
	show bool
	told time.Time
}

func newProgress(quiet bool) *progress {
	return &progress{show: !quiet && term.IsTerminal(int(os.Stderr.Fd()))}
}

func (p *progress) say(format string, args ...any) {
	if !p.show || time.Since(p.told) < 200*time.Millisecond {
		return
	}
	p.told = time.Now()
	fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, args...)
}

func (p *progress) end() {
	if p.show {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}
